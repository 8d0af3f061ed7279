"""``entropylab doctor``: is everything here that is needed, and if not, which command mends it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from entropylab.errors import EntropylabError
from entropylab.plots.labels import run_labels

from .checks import Check
from .dashboard import find_app
from .outcomes import problems
from .output import FINDINGS, OK, print_json, say, show_table
from .sources import Json, load_runs

CORE = ("numpy", "pandas", "pyarrow", "scipy", "statsmodels", "rich", "typer")
CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")
EXTRAS = {"train": ("torch",), "app": ("streamlit", "plotly", "matplotlib")}


EXAMPLES = (
    "entropylab doctor",
    "entropylab doctor sample_logs/start-a --json",
)


def command(
    paths: Annotated[
        list[str] | None, typer.Argument(metavar="[PATH]...", help="Runs whose data to check as well.")
    ] = None,
    trainer: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Check this trainer instead of the set-up: trl or verl."),
    ] = None,
    json: Json = False,
) -> None:
    """Check this machine's set-up or a trainer's, and the data of runs if paths are given."""
    checks = all_checks() if trainer is None else _of_trainer(trainer)
    runs = load_runs(paths) if paths else []
    labels = run_labels(runs)
    rows = [
        {
            "run": labels[str(run.path)],
            "problems": problems(run, pages=True),
            "pruned_steps": len(run.pruned_steps()),
            "whole_steps": len(run.steps()),
        }
        for run in runs
    ]
    if json:
        print_json("doctor", rows, checks=[asdict(check) for check in checks])
    else:
        _show(checks, rows)
    healthy = all(check.fine for check in checks) and not any(row["problems"] for row in rows)
    raise typer.Exit(OK if healthy else FINDINGS)


def all_checks() -> list[Check]:
    """Every check of the set-up, cheap ones first."""
    packages = [_package(name, "pip install entropylab-rl") for name in CORE]
    extras = [
        _package(name, f"pip install 'entropylab-rl[{extra}]'")
        for extra, names in EXTRAS.items()
        for name in names
    ]
    return [_python(), *packages, *extras, _torch(), _dashboard()]


def _of_trainer(name: str) -> list[Check]:
    from .trainer_checks import trainer_checks

    return [_python(), *trainer_checks(name)]


def _python() -> Check:
    return Check("python", platform.python_version(), sys.version_info >= (3, 11), "use Python 3.11 or newer")


def _package(name: str, mend: str) -> Check:
    try:
        return Check(name, importlib.metadata.version(name), True)
    except importlib.metadata.PackageNotFoundError:
        return Check(name, "missing", False, mend)


def usable_cores(quota: Path = CPU_QUOTA) -> int:
    """Cores that this process may use: its affinity, or a container's quota where that is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        limit, period = quota.read_text().split()[:2]
        return cores if limit == "max" else max(1, min(cores, int(limit) // int(period)))
    except (OSError, ValueError):
        return cores


def _torch() -> Check:
    try:
        import torch
    except ImportError as error:
        mend = "pip install 'entropylab-rl[train]'"
        return Check("torch threads", f"torch does not load: {error}", False, mend)
    return thread_check(torch.get_num_threads(), usable_cores())


def thread_check(threads: int, cores: int) -> Check:
    """More torch threads than cores make training many times slower."""
    found = f"{threads} on {cores} usable cores"
    return Check("torch threads", found, threads <= cores, f"set OMP_NUM_THREADS to at most {cores}")


def _dashboard() -> Check:
    try:
        return Check("dashboard", str(find_app()), True)
    except EntropylabError as error:
        return Check("dashboard", "not found", False, str(error))


def _show(checks: list[Check], rows: list[dict]) -> None:
    show_table(
        "Set-up",
        ["what", "state", "found"],
        [[check.name, "ok" if check.fine else "mend", check.found] for check in checks],
        text=3,
    )
    for check in checks:
        if not check.fine:
            say(f"{check.name}: {check.mend}")
    for row in rows:
        say(f"{row['run']}: {row['whole_steps']:,} whole steps read, {len(row['problems'])} problems")
        for problem in row["problems"]:
            say(f"{row['run']}: {problem['message']} ({problem['path']})")
        if row["pruned_steps"]:
            say(f"{row['run']}: token rows of {row['pruned_steps']:,} steps were pruned, summaries kept")
    found = sum(not check.fine for check in checks) + sum(len(row["problems"]) for row in rows)
    say("Nothing to mend." if not found else f"{found} to mend.")
