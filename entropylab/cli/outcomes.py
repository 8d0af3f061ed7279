"""The outcome of an analysis for each run: a result or the reason why there is none, and data problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import typer

from entropylab.errors import (
    InsufficientDataError,
    MissingInputError,
    RunFormatError,
    RunNotFoundError,
    UnknownNameError,
)
from entropylab.plots.labels import run_labels

from .output import FINDINGS, OK, print_json, say, show_table

if TYPE_CHECKING:
    from entropylab.record.reader import Run

TOO_LITTLE = (
    InsufficientDataError,
    MissingInputError,
    RunNotFoundError,
    RunFormatError,
    UnknownNameError,
)
"""Errors that say that one run lacks something; the others are still analysed."""


@dataclass(frozen=True)
class Outcome:
    """One run's result, or ``missing``: the reason in one line. ``findings`` are lines worth exit code 1."""

    name: str
    result: Any = None
    missing: str | None = None
    problems: list[dict[str, str]] = field(default_factory=list)
    findings: tuple[str, ...] = ()
    error: Exception | None = None

    @property
    def fine(self) -> bool:
        """Whether nothing is missing, withheld or damaged."""
        return self.missing is None and not self.problems and not self.findings

    def to_dict(self) -> dict[str, Any]:
        """The result's own dict with the run's name, its problems and the reason where there is no result."""
        content = {} if self.result is None else self.result.to_dict()
        own = {"run": self.name, "problems": self.problems, "missing": self.missing}
        return {"run": self.name} | content | own


def problems(run: Run, *, rows: bool = True, pages: bool = False) -> list[dict[str, str]]:
    """The run's data problems, JSON-ready; with ``pages`` every stored byte is checked, without ``rows`` no
    row file is opened.
    """
    found = run.problems(pages, rows=rows)
    return [{"kind": p.kind, "path": str(p.path), "message": p.message} for p in found]


def attempt(name: str, analysis: Callable[[], Any], problems: list[dict[str, str]] | None = None) -> Outcome:
    """The outcome of ``analysis()``; too little data becomes a reason instead of an error."""
    try:
        return Outcome(name, analysis(), problems=problems or [])
    except TOO_LITTLE as error:
        return Outcome(name, missing=" ".join(str(error).split()), problems=problems or [], error=error)


def analyse(runs: Sequence[Run], analysis: Callable[[Run], Any], *, rows: bool = True) -> list[Outcome]:
    """The outcome of ``analysis(run)`` for each run; a name that none of them knows is an error.

    ``rows``: whether it reads token rows, so that their files are among what may be damaged.
    """
    labels = run_labels(runs)
    still = [run.frozen() for run in runs]
    found = [
        attempt(labels[str(run.path)], partial(analysis, run), problems(run, rows=rows)) for run in still
    ]
    if found and all(isinstance(outcome.error, UnknownNameError) for outcome in found):
        raise UnknownNameError(found[0].missing)
    return found


def finish(
    command: str,
    outcomes: Sequence[Outcome],
    *,
    json: bool,
    title: str,
    columns: Sequence[str],
    row: Callable[[Any], Sequence[str]],
    **more: Any,
) -> None:
    """Print the outcomes as JSON or as a table with the summaries below it, and exit 0 or 1."""
    if json:
        print_json(command, [outcome.to_dict() for outcome in outcomes], **more)
    else:
        found = [outcome for outcome in outcomes if outcome.result is not None]
        if found:
            show_table(title, ["run", *columns], [[o.name, *row(o.result)] for o in found])
        for outcome in outcomes:
            _tell(outcome)
    raise typer.Exit(OK if all(outcome.fine for outcome in outcomes) else FINDINGS)


def _tell(outcome: Outcome) -> None:
    say()
    say(outcome.name, style="bold")
    if outcome.missing:
        say(f"Not possible here: {outcome.missing}")
    if outcome.result is not None:
        say(outcome.result.summary())
    tell_problems(outcome.problems)


def tell_problems(found: Sequence[dict[str, str]], limit: int = 5) -> None:
    """The first few data problems, one line each, and how many more there are."""
    for problem in found[:limit]:
        say(f"Data problem: {problem['message']} ({problem['path']})")
    if len(found) > limit:
        say(f"... and {len(found) - limit} more: entropylab doctor PATH lists them")
