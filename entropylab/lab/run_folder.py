"""What a lab run writes into its configuration, and whether a folder already holds the run."""

from __future__ import annotations

import shutil
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from ..losses.settings import to_dict
from ..record.paths import RUN_FILE
from ..record.reader import Run, open_run
from .settings import LabMethod, LabSettings
from .tasks import TASKS, task_named

_LIBRARIES = ("torch", "numpy")

_ADDED = {"head": "logits", "influence_every": None}
"""Settings that runs of older versions do not name, with the value that they had."""


def run_config(method: LabMethod, settings: LabSettings) -> dict[str, Any]:
    """The configuration of a run as plain JSON data: all that its numbers depend on."""
    flat = {key: value for key, value in asdict(settings).items() if key != "start"}
    start = {key: value for key, value in asdict(settings.start).items() if key not in ("task", "model")}
    task = task_named(settings.start.task)
    return {
        "method_key": method.method_key,
        "surrogate": to_dict(method.surrogate),
        "control": to_dict(method.control),
        "release_step": method.release_step,
        **({} if method.micro_batches == 1 else {"micro_batches": method.micro_batches}),
        **({} if method.advantages is None else {"advantages": to_dict(method.advantages)}),
        "start": settings.start.name,
        "warm_up": {**start, "operator_weights": list(settings.start.operator_weights)},
        **flat,
        "temperature": 1.0,
        "dtype": "float32",
        "optimizer": "AdamW",
        "model": {"name": "decoder-only transformer", **asdict(settings.start.model)},
        "task": task.describe(),
        "vocabulary": list(task.vocabulary),
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def claim_folder(folder: Path, config: dict[str, Any], *, overwrite: bool = False) -> bool:
    """Whether the run is still to be made; an unfinished run of the same settings is deleted first.

    ``overwrite`` deletes a finished run, or one of other settings, too.
    Errors: InvalidInputError for a folder that holds something else, or a run of other settings.
    """
    if not folder.exists() or not any(folder.iterdir()):
        return True
    run = _lab_run(folder)
    if not overwrite:
        _check_same_settings(run, config)
        if is_finished(run):
            return False
    shutil.rmtree(folder)
    return True


def is_finished(run: Run) -> bool:
    """Whether every step and the test evaluation of the last policy are there."""
    steps = run.config["steps"]
    evaluations = run.evaluations()
    tested = ((evaluations["split"] == "test") & (evaluations["step"] == steps)).any()
    return bool(tested) and len(run.steps()) == steps


def _lab_run(folder: Path) -> Run:
    if (folder / RUN_FILE).exists():
        run = open_run(folder)
        if run.config.get("task", {}).get("name") in TASKS:
            return run
    raise InvalidInputError(f"{folder} holds something that is no run of the lab: give another folder")


def _check_same_settings(run: Run, config: dict[str, Any]) -> None:
    found = {**_ADDED, **run.config}
    different = [
        f"{key} {found.get(key)!r} instead of {value!r}"
        for key, value in config.items()
        if key != "libraries" and found.get(key) != value
    ]
    if different:
        raise InvalidInputError(
            f"{run.path} holds a run of other settings ({'; '.join(different)}): "
            "give another folder, or overwrite it"
        )
