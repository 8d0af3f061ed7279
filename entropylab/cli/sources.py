"""From the paths on the command line to runs, and the options that the reading commands share."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from entropylab.record.reader import Run

Paths = Annotated[
    list[str],
    typer.Argument(
        metavar="PATH...", help="Run folders; a folder without _run.json stands for every run below."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print strict JSON only.")]


def load_runs(paths: Sequence[str]) -> list[Run]:
    """Every run at or below the paths, each once, in the order given."""
    from entropylab.record.reader import open_runs

    found = {str(Path(str(run.path))): run for path in paths for run in open_runs(path)}
    return list(found.values())
