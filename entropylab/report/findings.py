"""The results a report is made of: one analysis at a time, and the reason where one is not possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from entropylab.errors import EntropylabError
from entropylab.plots.labels import run_labels
from entropylab.plots.series import by_method
from entropylab.plots.text import one_line

if TYPE_CHECKING:
    from entropylab.record.reader import Run

LABEL_LENGTH = 80
"""Characters of a run's label that is shown in full."""


@dataclass(frozen=True)
class Finding:
    """One analysis of one run, or of all: its result, or ``missing``: why there is none, as a sentence."""

    label: str
    run: Run | None = None
    result: Any = None
    missing: str = ""


@dataclass(frozen=True)
class Findings:
    """Everything a report shows. ``law``: every run; ``tails``, ``who``: the first run of each method."""

    runs: tuple[Run, ...]
    labels: dict[str, str]
    law: tuple[Finding, ...]
    tails: tuple[Finding, ...]
    who: tuple[Finding, ...]
    comparison: Finding

    def all(self) -> tuple[Finding, ...]:
        """Every finding, in the order of the report."""
        return (self.comparison, *self.law, *self.tails, *self.who)


def gather(runs: Sequence[Run]) -> Findings:
    """Run every analysis of a report; one that lacks data leaves its reason, not an error."""
    labels = {path: one_line(label, LABEL_LENGTH) for path, label in run_labels(runs).items()}
    first = [members[0] for members in by_method(runs).values()]
    return Findings(
        runs=tuple(runs),
        labels=labels,
        law=_each(_law, runs, labels),
        tails=_each(_tails, first, labels),
        who=_each(_who, first, labels),
        comparison=_attempt("all runs", lambda: _compare(runs)),
    )


def _each(analysis: Callable[[Run], Any], runs: Sequence[Run], labels: dict[str, str]) -> tuple[Finding, ...]:
    return tuple(_attempt(labels[str(run.path)], partial(analysis, run), run) for run in runs)


def _attempt(label: str, analysis: Callable[[], Any], run: Run | None = None) -> Finding:
    try:
        return Finding(label, run, analysis())
    except EntropylabError as error:
        return Finding(label, run, missing=" ".join(str(error).split()).rstrip("."))


def _law(run: Run) -> Any:
    from entropylab.analysis.curve_data import fit_run

    return fit_run(run)


def _tails(run: Run) -> Any:
    from entropylab.analysis.tail_data import analyze_run

    return analyze_run(run)


def _who(run: Run) -> Any:
    from entropylab.analysis.attribution import attribute

    return attribute(run)


def _compare(runs: Sequence[Run]) -> Any:
    from entropylab.analysis.comparison import compare_runs

    return compare_runs(list(runs))
