"""``entropylab compare``: methods beside each other, differences with their uncertainty."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import typer

from entropylab.plots.labels import run_labels
from entropylab.plots.style import method_label

from .outcomes import problems, tell_problems
from .output import FINDINGS, OK, number, print_json, say, show_table
from .sources import Json, Paths, load_runs

if TYPE_CHECKING:
    import pandas as pd

    from entropylab.analysis.comparison import Comparison

COLUMNS = ("quantity", "method", "start", "end", "less baseline", "interval")
EXAMPLES = (
    "entropylab compare sample_logs/start-a",
    "entropylab compare runs/demo --json",
)


def command(paths: Paths, json: Json = False) -> None:
    """Compare runs: entropy and performance of each method against the baseline."""
    from entropylab.analysis.comparison import compare_runs

    runs = load_runs(paths)
    comparison = compare_runs(runs)
    labels = run_labels(runs)
    table = comparison.runs.to_dict(orient="records")
    rows = [
        {**figures, "run": labels[str(run.path)], "problems": problems(run)}
        for run, figures in zip(runs, table, strict=True)
    ]
    if json:
        print_json("compare", rows, comparison=comparison.to_dict())
    else:
        _show(comparison, rows)
    raise typer.Exit(OK if is_complete(comparison) and not any(row["problems"] for row in rows) else FINDINGS)


def is_complete(comparison: Comparison) -> bool:
    """Whether every run holds every quantity that is compared."""
    ends = [f"{name}_end" for name in ("entropy", *comparison.metrics)]
    return bool(comparison.runs[ends].notna().all(axis=None))


def _show(comparison: Comparison, rows: list[dict]) -> None:
    title = f"Mean over runs; differences with {100 * comparison.level:g} % intervals over seeds"
    show_table(title, COLUMNS, _rows(comparison), text=2)
    say()
    say(comparison.summary())
    for row in rows:
        tell_problems(row["problems"])


def _rows(comparison: Comparison) -> Iterator[list[str]]:
    """One row a quantity and method; the quantity's name stands once."""
    from entropylab.analysis.comparison_figures import label_of

    means = comparison.methods.set_index(["metric", "method"])
    gaps = comparison.differences.set_index(["metric", "method"])
    for key in comparison.shown:
        name = label_of(key)
        for place, method in enumerate(dict.fromkeys(comparison.methods["method"])):
            start, end = (number(means.loc[(f"{key}_{when}", method), "mean"]) for when in ("start", "end"))
            gap = gaps.loc[(f"{key}_end", method)] if (f"{key}_end", method) in gaps.index else None
            yield [name if place == 0 else "", method_label(method), start, end, *_gap(gap)]


def _gap(gap: pd.Series | None) -> tuple[str, str]:
    if gap is None or gap["difference"] != gap["difference"]:
        return "", ""
    known = gap["low"] == gap["low"]
    return f"{gap['difference']:+.3f}", f"({gap['low']:+.3f} to {gap['high']:+.3f})" if known else "one run"
