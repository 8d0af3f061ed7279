"""``entropylab prune``: delete the token rows of most steps, keep every summary."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from entropylab.plots.labels import run_labels

from .output import print_json, say
from .sources import Json, Paths, load_runs

EXAMPLES = (
    "entropylab prune runs/demo --keep-every 10",
    "entropylab prune runs/demo --keep-every 10 --keep-summaries --yes",
)


def command(
    paths: Paths,
    keep_every: Annotated[
        int, typer.Option(metavar="N", help="Steps that N divides keep their token rows.", show_default=False)
    ],
    keep_summaries: Annotated[
        bool,
        typer.Option(
            "--keep-summaries", help="Every summary stays, to the last bit: always so.", show_default=False
        ),
    ] = True,
    responses: Annotated[
        bool, typer.Option("--responses", help="Response rows of those steps go as well.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do it; without, only say what would go.")] = False,
    json: Json = False,
) -> None:
    """Delete token rows of steps that N does not divide; without --yes only say which."""
    from entropylab.record.pruning import prune_run

    runs = load_runs(paths)
    labels = run_labels(runs)
    plans = [prune_run(run.path, keep_every=keep_every, responses=responses) for run in runs]
    if yes:  # every run has been looked at before the first is changed
        plans = [
            prune_run(run.path, keep_every=keep_every, responses=responses, dry_run=False) for run in runs
        ]
    rows = [_row(labels[str(run.path)], plan) for run, plan in zip(runs, plans, strict=True)]
    if json:
        print_json("prune", rows)
        raise typer.Exit
    for row in rows:
        say(_text(row))
    if not yes and any(row["files"] or row["rows"] or row["responses"] for row in rows):
        say("Nothing was deleted. --yes does it; the summaries stay, the rows are gone for good.")


def _row(name: str, plan: Any) -> dict[str, Any]:
    counts = {name: getattr(plan, name) for name in ("rows", "responses", "files", "bytes", "done")}
    return {"run": name, "steps_pruned": len(plan.steps_pruned), "steps_kept": len(plan.steps_kept), **counts}


def _text(row: dict[str, Any]) -> str:
    """One run in one line."""
    went = "went" if row["done"] else "would go"
    text = f"{row['run']}: {row['steps_pruned']:,} steps, {row['rows']:,} token rows"
    text += f", {row['responses']:,} response rows" if row["responses"] else ""
    size = f"{row['bytes'] / 1e6:,.1f} MB, {row['files']:,} files"
    return f"{text} ({size}) {went}; {row['steps_kept']:,} steps keep their token rows"
