"""``entropylab compact``: merge a finished run's many small files into few."""

from __future__ import annotations

import typer

from entropylab.plots.labels import run_labels

from .output import print_json, say
from .sources import Json, Paths, load_runs

EXAMPLES = ("entropylab compact runs/demo",)


def command(paths: Paths, json: Json = False) -> None:
    """Merge the files of finished runs: faster to read and to copy, nothing is lost."""
    from entropylab.record.compaction import compact_run

    runs = load_runs(paths)
    labels, rows = run_labels(runs), []
    for run in runs:
        done = compact_run(run.path)
        rows.append(
            {
                "run": labels[str(run.path)],
                "files_before": done.files_before,
                "files_after": done.files_after,
            }
        )
    if json:
        print_json("compact", rows)
        raise typer.Exit
    for row in rows:
        say(f"{row['run']}: {row['files_before']} files are now {row['files_after']}")
