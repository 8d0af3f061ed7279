"""From the paths on the command line to runs, and the options that the reading commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from entropylab.errors import InvalidInputError

if TYPE_CHECKING:
    from entropylab.record.reader import Run

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...", help="Run folders; a folder without _run.json stands for every run below."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print strict JSON only.")]


Steps = Annotated[
    str | None,
    typer.Option(
        metavar="FIRST-LAST", help="Steps to read, as 0-19 or 7; default: the first 20 with tokens."
    ),
]


def load_runs(paths: Sequence[str]) -> list[Run]:
    """Every run at or below the paths, each once, in the order given."""
    from entropylab.record.reader import open_runs

    found = {str(Path(str(run.path))): run for path in paths for run in open_runs(path)}
    return list(found.values())


def steps_of(run: Run, text: str | None) -> list[int] | None:
    """The run's steps with token rows inside FIRST-LAST; None (the analysis chooses) without a text."""
    if text is None:
        return None
    first, _, last = text.partition("-")
    if not first.isdigit() or (last and not last.isdigit()):
        raise InvalidInputError(f"--steps {text!r}: give FIRST-LAST, such as 0-19, or one step")
    low, high = int(first), int(last or first)
    found = [step for step in run.token_steps() if low <= step <= high]
    if not found:
        raise InvalidInputError(f"{run.name} holds no token rows in the steps {low} to {high}")
    return found
