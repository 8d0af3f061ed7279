"""Methods less the baseline where both have come equally far: in steps, tokens, or entropy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from entropylab.analysis.comparison_figures import label_of
from entropylab.plots.style import method_label

from .blocks import Block, Fold, Heading, Paragraph, Table, table
from .numbers import MISSING, number, under, with_interval

if TYPE_CHECKING:
    import pandas as pd

    from .finding import Finding

MEANING = (
    "A method that keeps entropy up is another policy at the same step, so its accuracy at temperature 1 is "
    "lower for that alone. At equal entropy it is compared with the baseline at the moment when the baseline "
    "had the same entropy: the question is what a nat has bought."
)
ACCURACY = "accuracy at T = 1"
UNITS = {"steps": "{:,.0f}", "tokens": "{:,.0f}", "entropy": "{:.3f} nats"}
"""How the place at which methods are compared is written."""


def matched_section(comparison: Finding) -> Iterator[Block]:
    """The differences with their intervals, and what they mean."""
    yield Heading(3, "Less the baseline, where both have come equally far")
    if comparison.result is None or comparison.result.matched.empty:
        yield Paragraph(_reason(comparison))
        return
    _, *metrics = comparison.result.shown
    if not metrics:
        yield Paragraph("No validation evaluation was recorded, so there is no performance to compare.")
        return
    matched, level = comparison.result.matched, comparison.result.level
    yield Paragraph(MEANING)
    first = ACCURACY if metrics[0] == "accuracy" else metrics[0]
    for row in matched[(matched["at"] == "entropy") & (matched["metric"] == metrics[0])].itertuples():
        yield Paragraph(sentence(row, level, first))
    yield _table(matched, metrics, "")
    yield Paragraph(_note(level), "note")
    if matched["wide_low"].notna().any():
        wide = _table(matched, metrics, "wide_")
        yield Fold("With the sampling of the problems counted too", (wide, Paragraph(WIDE, "note")))


def sentence(row: Any, level: float, metric: str = ACCURACY) -> str:
    """What the metric at equal entropy shows of one method; ``row``: of `Comparison.matched`."""
    name = method_label(row.method)
    if row.difference != row.difference:
        return f"{name}: no {metric} of it and of the baseline is known at an entropy both have reached."
    text = f"At {_place('entropy', row.x)}, {name} less the baseline: {metric} {row.difference:+.3f}"
    if row.low != row.low:
        return f"{text}; one run of a method has no interval, the difference may be the seed's."
    bounds = f"({100 * level:g} %: {row.low:+.3f} to {row.high:+.3f})"
    shown = _shown(row.low, row.high, metric.removesuffix(" at T = 1"))
    return f"{text} {bounds}: {shown} for the same entropy."


def _shown(low: float, high: float, metric: str) -> str:
    if low <= 0 <= high:
        return f"neither is shown to have more {metric}"
    return f"it is shown to have {'more' if low > 0 else 'less'} {metric}"


def _reason(comparison: Finding) -> str:
    reason = comparison.missing or "It needs runs of a baseline and of another method"
    return f"No comparison of methods that have come equally far. {reason}."


def _table(matched: pd.DataFrame, metrics: Sequence[str], bounds: str) -> Table:
    names = [label_of(metric) for metric in metrics]
    places = matched.groupby(["method", "at"], sort=False)
    rows = [
        [_first_cell(method, at, rows["x"].iloc[0]), *_cells(rows, metrics, bounds)]
        for (method, at), rows in places
    ]
    return table(["method, at equal", *names, "pairs"], rows)


def _first_cell(method: str, at: str, x: float) -> str:
    return under(f"{method_label(method)}, {at}", _place(at, x))


def _place(at: str, x: float) -> str:
    return UNITS[at].format(x) if x == x else "none that all reached"


def _cells(rows: pd.DataFrame, metrics: Sequence[str], bounds: str) -> list[str]:
    by_metric = rows.set_index("metric")
    cells = [_cell(by_metric.loc[metric], bounds) for metric in metrics]
    pairs = int(rows["pairs"].max())
    return [*cells, number(pairs, 0) if pairs else MISSING]


def _cell(row: pd.Series, bounds: str) -> str:
    return with_interval(row["difference"], row[f"{bounds}low"], row[f"{bounds}high"], sign="+")


def _note(level: float) -> str:
    return (
        "Method less baseline at the farthest place that all runs of both have reached; values are means "
        "of 4 evaluations, the last up to it, at an entropy those around the first down to it. "
        f"{100 * level:g} % t intervals over seeds, paired by seed and start (pairs: – where none match), "
        "none where there is one seed."
    )


WIDE = (
    "Variance of the seeds plus p (1 - p)/problems of both methods, as if their problems were not the same: "
    "rather too wide."
)
