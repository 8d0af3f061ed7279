"""Predicted against observed change of the entropy: panels, slopes, and every form in a fold."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from entropylab.analysis.dynamics import WINDOWS
from entropylab.analysis.dynamics_series import OBSERVED, PREDICTORS
from entropylab.plots.dynamics import draw_dynamics

from .blocks import Block, Fold, Heading, Paragraph, Picture, Table, lines, table
from .numbers import number, under, with_interval
from .panels import in_rows, side_by_side

if TYPE_CHECKING:
    import pandas as pd

    from entropylab.analysis.dynamics import Dynamics

    from .finding import Finding
    from .findings import Findings

OPENING = (
    "The theory says that a step lowers the entropy by a step size times the covariance of log-probability "
    "and advantage (arXiv 2505.22617, theorems 1 and 2)."
)
WIDE_WINDOW = 10
"""Steps of the windows whose correlation stands beside that of single steps."""


def dynamics_section(findings: Findings) -> Iterator[Block]:
    """One panel and one row a method, every form and window on request."""
    yield Heading(2, "Predicted and observed change of the entropy")
    yield Paragraph(OPENING)
    yield from in_rows(findings.dynamics, _picture, "dynamics", "the change is not predicted")
    found = [finding for finding in findings.dynamics if finding.result is not None]
    if found:
        yield _slopes(found)
        yield Paragraph(_note(found[0].result), "note")
        yield Fold("The dynamics in words, every form and window", tuple(_in_words(found)))


def _picture(found: Sequence[Finding], key: str) -> Picture:
    counts = "; ".join(f"{one.label} {_single(one.result)['n']:,} of {one.result.n_steps:,}" for one in found)
    caption = (
        "Drop of the entropy in a step over the mean covariance of log-probability and advantage over all "
        "tokens of the step, as the loss used it: one point a step, nats. Same states: the entropy of the "
        "same tokens before less after the step's updates; between rollouts: this step's less the next "
        "one's, so that the states change too. Line: least squares, its slope the implied step size "
        "(interval: in the table). Steps with both, of all: "
        f"{counts}."
    )
    drawing = side_by_side(found, lambda finding, ax: draw_dynamics(finding.result, ax))
    return Picture(drawing, "Predicted against observed change.", caption, key=key)


def observed_of(result: Dynamics) -> str:
    """The drop that is shown: on the same states where that was recorded."""
    return "same_states" if np.isfinite(result.series["same_states"]).any() else "between"


def _single(result: Dynamics) -> pd.Series:
    return result.fit(observed_of(result))


def _slopes(found: Sequence[Finding]) -> Table:
    columns = (
        "run",
        "steps",
        "slope",
        "r",
        f"slope, windows of {WIDE_WINDOW}",
        f"r, windows of {WIDE_WINDOW}",
    )
    return table(columns, [[finding.label, *_row(finding.result)] for finding in found])


def _row(result: Dynamics) -> list[str]:
    fit, wide = _single(result), result.fit(observed_of(result), window=WIDE_WINDOW)
    return [f"{fit['n']:,}", _slope(fit), number(fit["r"], 2), _slope(wide), number(wide["r"], 2)]


def _slope(fit: pd.Series) -> str:
    return with_interval(fit["slope"], fit["low"], fit["high"])


def _note(result: Dynamics) -> str:
    return (
        f"Slope: nats a unit of covariance, with {100 * result.level:g} % intervals that allow for "
        f"autocorrelated errors; – where fewer than 12 points hold both. Windows: both sides summed over "
        f"{WIDE_WINDOW} steps that do not overlap. With a control the update is not that of all tokens, the "
        "covariance is: expect a smaller slope."
    )


def _in_words(found: Sequence[Finding]) -> Iterator[Block]:
    for finding in found:
        yield Heading(3, finding.label)
        yield from lines(finding.result.summary(), "note")
        yield from _every_form(finding.result)


def _every_form(result: Dynamics) -> Iterator[Block]:
    """A table of slopes, form by window, for each drop that was observed."""
    for observed, words in OBSERVED.items():
        rows = result.fits[result.fits["observed"] == observed]
        if np.isfinite(rows["slope"]).any():
            yield Paragraph(f"Slopes over windows of so many steps; the drop {words}:", "note")
            yield table(
                ("predicted by", *map(str, WINDOWS)), [_form(result, observed, name) for name in PREDICTORS]
            )


def _form(result: Dynamics, observed: str, predictor: str) -> list[str]:
    form, _, where = PREDICTORS[predictor].partition(" over ")
    fits = (result.fit(observed, predictor, window) for window in WINDOWS)
    return [under(form, f"over {where}"), *map(_slope, fits)]
