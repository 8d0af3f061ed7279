"""One import: files of a foreign format in, a run folder out, and a report of what was found."""

from __future__ import annotations

import importlib
import itertools
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..errors import RunNotFoundError
from ..record.paths import local_path
from ..record.recorder import Recorder
from ..record.writer import write_json
from .destination import new_folder
from .faults import Faults, UnrecognizedSourceError
from .formats import Format, format_named
from .recording import record_step
from .step_metrics import StepMetrics
from .steps import Context, ImportedEvaluation, ImportedStep, Response

REPORT_FILE = "import.json"
"""In the run folder: the report of the import, with its faults and notes."""

_OPTIONAL = {
    "old_logprobs": "log-probabilities of the rollout policy",
    "ref_logprobs": "log-probabilities of the reference policy",
    "entropy": "entropies",
    "token_ids": "token ids",
}


@dataclass(frozen=True)
class ImportReport:
    """What an import wrote. ``faults``: the first broken records by file and line, ``n_faults`` all of them.

    ``missing``: what the source does not hold and the run therefore leaves null. ``notes``: by the format.
    """

    path: Path
    format: str
    files: int
    steps: int
    responses: int
    tokens: int
    evaluations: int
    n_faults: int
    faults: tuple[str, ...]
    missing: tuple[str, ...]
    notes: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """The report as plain JSON values."""
        return {
            **vars(self),
            "path": str(self.path),
            "faults": list(self.faults),
            "missing": list(self.missing),
        }


@dataclass
class _Counts:
    steps: int = 0
    responses: int = 0
    tokens: int = 0
    evaluations: int = 0
    seen: set[str] = field(default_factory=set)

    def add(self, responses: Iterable[Response]) -> None:
        """Count one step."""
        self.steps += 1
        for response in responses:
            self.responses += 1
            self.tokens += int(response.mask.sum())
            self.seen.update(name for name in _OPTIONAL if getattr(response, name) is not None)
            if response.reward is not None:
                self.seen.add("reward")


def import_run(
    format_name: str,
    source: str | os.PathLike[str],
    destination: str | os.PathLike[str],
    *,
    strict: bool = False,
    method: str | None = None,
    config: Mapping[str, Any] | None = None,
    metrics: StepMetrics | None = None,
) -> ImportReport:
    """Import the dumps of a trainer at or below ``source`` as a new run folder ``destination``.

    format_name: a key of `FORMATS`. strict: the first broken record raises `MalformedRecordError` and nothing
    is imported; without it broken records are left out, counted and named. What a format lacks stays null.
    metrics: a step-level log of the same run (`step_metrics`). Raises `DestinationExistsError`,
    `RunNotFoundError` for no source, `UnrecognizedSourceError` where nothing of the format is found.
    """
    row = format_named(format_name)
    module = importlib.import_module(f".{row.module}", __package__)
    folder, place = local_path(source), local_path(destination)
    if not folder.exists():
        raise RunNotFoundError(f"{folder}: no such file or folder")
    files = module.find(folder)
    if not files:
        raise UnrecognizedSourceError(f"{folder}: no {row.name} dump there (looked for {row.looked_for})")
    faults, counts, beside = Faults(strict), _Counts(), metrics or StepMetrics()
    for text in beside.problems:
        faults.report("metrics", text)
    with new_folder(place) as work:
        context = Context(faults, work / "scratch")
        settings = {**(config or {}), "imported": {"format": row.name, "source": str(folder.resolve())}}
        with Recorder(work, config=settings, method=method) as recorder:
            for item in itertools.chain(beside.evaluations, module.read(files, context)):
                _keep(recorder, item, counts, beside)
        shutil.rmtree(context.scratch, ignore_errors=True)
        if not counts.steps:
            raise UnrecognizedSourceError(_nothing_usable(row, folder, len(files), faults))
        report = _report(place, row, len(files), counts, faults, context.notes)
        write_json(work / REPORT_FILE, report.to_dict())
    return report


def _keep(
    recorder: Recorder, item: ImportedStep | ImportedEvaluation, counts: _Counts, beside: StepMetrics
) -> None:
    if isinstance(item, ImportedEvaluation):
        counts.evaluations += 1
        recorder.evaluate(item.step, split=item.split, metric=item.metric, value=item.value, n=item.n)
        return
    counts.add(item.responses)
    further = beside.values.get(item.step, {})
    record_step(recorder, replace(item, metrics={**further, **item.metrics}))


def _nothing_usable(row: Format, folder: Path, files: int, faults: Faults) -> str:
    first = f"; the first of {faults.count} faults: {faults.texts[0]}" if faults.texts else ""
    return f"{folder}: {files} files look like {row.name}, none holds a usable record{first}"


def _report(
    place: Path, row: Format, files: int, counts: _Counts, faults: Faults, notes: Mapping[str, Any]
) -> ImportReport:
    absent = [text for name, text in _OPTIONAL.items() if name not in counts.seen]
    if counts.tokens == 0:
        absent = ["tokens and all that belongs to them (log-probabilities, advantages, entropies)"]
    if "reward" not in counts.seen:
        absent.append("rewards")
    if not counts.evaluations:
        absent.append("evaluations")
    return ImportReport(
        path=place,
        format=row.name,
        files=files,
        steps=counts.steps,
        responses=counts.responses,
        tokens=counts.tokens,
        evaluations=counts.evaluations,
        n_faults=faults.count,
        faults=tuple(faults.texts),
        missing=tuple(absent),
        notes=dict(notes),
    )
