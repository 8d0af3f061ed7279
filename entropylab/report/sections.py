"""The sections of a report, top to bottom, as blocks."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from importlib import resources
from typing import TYPE_CHECKING, Any

from entropylab import __version__
from entropylab.plots.series import by_method
from entropylab.plots.style import method_label

from . import figures
from .blocks import Block, Fold, Heading, Paragraph, Summary, Table, lines, table
from .matched import matched_section
from .numbers import MISSING, with_interval
from .settings import split_settings
from .story import limits, story

if TYPE_CHECKING:
    import pandas as pd

    from entropylab.analysis.comparison import Comparison

    from .findings import Findings

LARGEST_RUNS_TABLE = 40
"""Runs up to which each gets a row of its own."""


def head(findings: Findings) -> Iterator[Block]:
    """Title and byline."""
    methods = [method_label(key) for key in by_method(findings.runs)]
    when = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    runs = len(findings.runs)
    yield Heading(1, f"Entropy report: {', '.join(methods[:6])}")
    yield Paragraph(f"{runs} run{'s' * (runs != 1)}, written {when} by entropylab {__version__}", "byline")


def summary_section(findings: Findings) -> Iterator[Block]:
    """Half a page to quote: three sentences, the limits, and a table of the methods."""
    yield Summary((*story(findings), limits(findings)))
    if findings.comparison.result is not None:
        yield _methods_table(findings.comparison.result)
    yield Paragraph(
        "Entropy in nats, performances on the validation split. Start: the first step or evaluation; end: "
        "the mean of the last 10 steps or 4 evaluations after it. Means over runs with 95 % intervals over "
        "seeds where there are two or more.",
        "note",
    )


def _methods_table(comparison: Comparison) -> Table:
    names = ["entropy_start", "entropy_end", *_figures(comparison.shown[1:])]
    rows = []
    for method, group in comparison.methods.groupby("method", sort=False):
        by_metric = group.set_index("metric")
        runs = str(int(by_metric["n_runs"].max()))
        rows.append([method_label(str(method)), runs, *(_mean(by_metric.loc[name]) for name in names)])
    return table(["method", "runs", *(_heading(name) for name in names)], rows)


def _figures(metrics: Sequence[str]) -> Iterator[str]:
    """The ends; of the metrics that are no accuracy the starts too."""
    for name in metrics:
        if not name.startswith("accuracy"):
            yield f"{name}_start"
        yield f"{name}_end"


def _heading(figure: str) -> str:
    name, _, when = figure.rpartition("_")
    known = {"entropy": f"H {when}", "accuracy": "T = 1", "accuracy_greedy": "greedy"}
    return known.get(name, f"{name} {when}")


def _mean(row: pd.Series) -> str:
    return with_interval(row["mean"], row["low"], row["high"])


def figures_section(findings: Findings) -> Iterator[Block]:
    """Every figure, or a sentence in its place."""
    yield Heading(2, "Entropy and performance")
    yield figures.entropy_over_steps(findings)
    if len(findings.runs) > 1:
        yield figures.comparison(findings.comparison)
        yield from matched_section(findings.comparison)
    yield Heading(2, "The entropy-performance law")
    yield from figures.laws(findings)
    yield from _law_table(findings)
    yield Heading(2, "The covariance of tokens")
    for place, (tails, who) in enumerate(zip(findings.tails, findings.who, strict=True)):
        yield Heading(3, tails.label)
        yield figures.tails(tails, f"tails{place}")
        yield figures.who(who, f"who{place}")


def _law_table(findings: Findings) -> Iterator[Block]:
    fitted = [finding for finding in findings.law if finding.result is not None][:LARGEST_RUNS_TABLE]
    if not fitted:
        return
    columns = ("run", "points", "a", "b", "ceiling", "interval", "form band", "R2")
    yield table(columns, [[finding.label, *_law_row(finding.result)] for finding in fitted])
    for finding in fitted:
        if finding.result.withheld:
            yield Paragraph(f"{finding.label}: interval withheld, {finding.result.withheld}.", "note")
    words: list[Block] = []
    for finding in fitted:
        words += [Heading(3, finding.label), *lines(finding.result.summary(), "note")]
    yield Fold("The fits in words", tuple(words))


def _law_row(fit: Any) -> list[str]:
    values = [f"{value:.3f}" for value in (fit.a, fit.b, fit.ceiling)]
    bounds = [_bounds(fit.intervals["ceiling"]), _bounds(fit.form_band)]
    return [str(fit.n_points), *values, *bounds, MISSING if fit.r2 is None else f"{fit.r2:.2f}"]


def _bounds(bounds: tuple[float, float] | None) -> str:
    return "withheld" if bounds is None else f"{bounds[0]:.2f} to {bounds[1]:.2f}"


def methods_section() -> Iterator[Block]:
    """How the numbers were made."""
    yield Heading(2, "Methods")
    text = resources.files(__package__).joinpath("methods.txt").read_text(encoding="utf-8")
    for block in text.strip().split("\n\n"):
        heading, _, words = block.partition("\n")
        yield Heading(3, heading)
        yield Paragraph(" ".join(words.split()))


def settings_section(findings: Findings) -> Iterator[Block]:
    """What the runs share and in what they differ."""
    yield Heading(2, "Settings")
    shared, different = split_settings([run.config for run in findings.runs])
    if different:
        labels = [findings.labels[str(run.path)] for run in findings.runs]
        yield Paragraph("What differs between the runs:")
        yield table(["setting", *labels], [[name, *values] for name, values in different], text=True)
    if shared:
        values = table(["setting", "value"], shared.items(), text=True)
        yield Fold("Settings that all runs share", (values,))
    if not shared and not different:
        yield Paragraph("No settings were recorded.")


def data_section(findings: Findings) -> Iterator[Block]:
    """Problems of the data, by name."""
    yield Heading(2, "Data")
    rows = [
        [findings.labels[str(run.path)], problem.kind, str(problem.path), problem.message]
        for run in findings.runs
        for problem in run.problems()
    ]
    if rows:
        yield Paragraph(
            f"{len(rows)} problem{'s' * (len(rows) != 1)}; the numbers above rest on what is whole."
        )
        yield table(["run", "kind", "file", "what it is and how to mend it"], rows, text=True)
    else:
        yield Paragraph("No problems: every step is whole and every file reads.")
    if findings.comparison.result is not None:
        for warning in findings.comparison.result.warnings:
            yield Paragraph(f"Note: {warning}.", "note")
    yield table(
        ["run", "folder", "id"],
        [[findings.labels[str(r.path)], str(r.path), r.id] for r in findings.runs],
        text=True,
    )
