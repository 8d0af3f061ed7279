"""The results a report is made of: one analysis at a time, and the reason where one is not possible."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from entropylab.plots.labels import run_labels
from entropylab.plots.series import by_method
from entropylab.plots.text import one_line

from .finding import Finding, attempt

if TYPE_CHECKING:
    from entropylab.record.reader import Run

LABEL_LENGTH = 80
"""Characters of a run's label that is shown in full."""


@dataclass(frozen=True)
class Findings:
    """Everything a report shows.

    ``health``, ``law``: every run; ``tails``, ``who``, ``dynamics``, ``replays``: one run of each method, the
    first, or for ``replays`` the first with tokens; ``audits``: the first run of each method that holds
    influence.
    """

    runs: tuple[Run, ...]
    labels: dict[str, str]
    health: tuple[Finding, ...]
    law: tuple[Finding, ...]
    tails: tuple[Finding, ...]
    who: tuple[Finding, ...]
    dynamics: tuple[Finding, ...]
    replays: tuple[Finding, ...]
    audits: tuple[Finding, ...]
    comparison: Finding

    def all(self) -> tuple[Finding, ...]:
        """Every finding, in the order of the report."""
        return (
            *self.health,
            self.comparison,
            *self.law,
            *self.tails,
            *self.who,
            *self.dynamics,
            *self.replays,
            *self.audits,
        )


def gather(runs: Sequence[Run]) -> Findings:
    """Run every analysis of a report; one that lacks data leaves its reason, not an error.

    The runs are frozen, so that every section tells of one moment and a folder is listed once.
    """
    runs = [run.frozen() for run in runs]
    labels = {path: one_line(label, LABEL_LENGTH) for path, label in run_labels(runs).items()}
    groups = by_method(runs).values()
    first = [members[0] for members in groups]
    return Findings(
        runs=tuple(runs),
        labels=labels,
        health=_each(_health, runs, labels),
        law=_each(_law, runs, labels),
        tails=_each(_tails, first, labels),
        who=_each(_who, first, labels),
        dynamics=_each(_dynamics, first, labels),
        replays=_each(_replays, [_with_tokens(members) for members in groups], labels),
        audits=_each(_audit, _with_influence(groups), labels),
        comparison=attempt("all runs", lambda: _compare(runs)),
    )


def _each(analysis: Callable[[Run], Any], runs: Sequence[Run], labels: dict[str, str]) -> tuple[Finding, ...]:
    return tuple(attempt(labels[str(run.path)], partial(analysis, run), run) for run in runs)


def _with_tokens(members: Sequence[Run]) -> Run:
    return next((run for run in members if run.token_steps()), members[0])


def _with_influence(groups: Iterable[Sequence[Run]]) -> list[Run]:
    """The first run of each method that holds influence; none of a method without."""
    from .influence import holds_influence

    first = (next((run for run in members if holds_influence(run)), None) for members in groups)
    return [run for run in first if run is not None]


def _health(run: Run) -> Any:
    from entropylab.analysis.health import run_health

    return run_health(run)


def _law(run: Run) -> Any:
    from entropylab.analysis.curve_data import fit_run

    return fit_run(run)


def _tails(run: Run) -> Any:
    from entropylab.analysis.tail_data import analyze_run

    return analyze_run(run)


def _who(run: Run) -> Any:
    from entropylab.analysis.attribution import attribute

    return attribute(run)


def _dynamics(run: Run) -> Any:
    from entropylab.analysis.dynamics import entropy_dynamics

    return entropy_dynamics(run)


def _replays(run: Run) -> Any:
    from .replays import replays_of

    return replays_of(run)


def _audit(run: Run) -> Any:
    from entropylab.analysis.proxy_audit import audit_proxies

    return audit_proxies(run)


def _compare(runs: Sequence[Run]) -> Any:
    from entropylab.analysis.comparison import compare_runs

    return compare_runs(list(runs))
