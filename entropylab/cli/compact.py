"""``entropylab compact``: merge a finished run's many small files into few."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from entropylab.plots.labels import run_labels

from .output import print_json, say
from .sources import Json, Paths, load_runs

if TYPE_CHECKING:
    from entropylab.record.remote import RemotePath


def command(paths: Paths, json: Json = False) -> None:
    """Merge the files of finished runs: faster to read and to copy, nothing is lost."""
    from entropylab.record.compaction import compact_run

    runs = load_runs(paths)
    labels, rows = run_labels(runs), []
    for run in runs:
        before = files_below(run.path)
        compact_run(run.path)
        rows.append(
            {"run": labels[str(run.path)], "files_before": before, "files_after": files_below(run.path)}
        )
    if json:
        print_json("compact", rows)
        raise typer.Exit
    for row in rows:
        say(f"{row['run']}: {row['files_before']} files are now {row['files_after']}")


def files_below(place: Path | RemotePath) -> int:
    """Number of files below a run's place."""
    if isinstance(place, Path):
        return sum(1 for entry in place.rglob("*") if entry.is_file())
    return len(place.files())
