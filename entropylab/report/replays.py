"""What other controls would have chosen on the logged tokens, and the same choice in micro-batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from entropylab.analysis.replay_controls import alternatives, own_control
from entropylab.plots.entropy import share_legend
from entropylab.plots.figure import look
from entropylab.plots.replay import draw_pieces

from .blocks import Block, Fold, Heading, Paragraph, Picture, Table, lines, table
from .numbers import MISSING, number, share, under
from .panels import in_rows, side_by_side

if TYPE_CHECKING:
    from entropylab.analysis.replay_report import Replay
    from entropylab.losses.interfaces import SelectingControl
    from entropylab.record.reader import Run

    from .finding import Finding
    from .findings import Findings

OPENING = (
    "Controls applied to the tokens that the runs recorded: which would they have chosen? Nothing is trained "
    "again, so what a policy under them would have done next is not told."
)
NOTE = (
    "Chosen: share of all tokens of the replayed updates; at least one token an update by default, so more "
    "than a small fraction asks for. Covariance: share of the positive covariance, Σ max(cov, 0), that the "
    "chosen tokens hold. Likely, rare: log-probability above, below its mean in the update; +, -: advantage "
    "above, below its mean; shares of the chosen. Overlap: tokens chosen by both this control and the run, "
    "over tokens chosen by either; – where the run chose none. Counts of the logged updates, so without "
    "intervals."
)
QUADRANTS = {"low_below": "rare -", "low_above": "rare +", "high_below": "likely -", "high_above": "likely +"}
"""Quadrant -> its name over a column; see the note."""


def replays_of(run: Run) -> tuple[tuple[str, Replay], ...]:
    """(words, replay): the run's own control, in micro-batches too, or the paper's Clip-Cov; others."""
    from entropylab.analysis.replay_report import replay_beside
    from entropylab.losses.controls.clip_cov import ClipCov

    own = own_control(run.config)
    control = ClipCov.paper() if own is None else own
    others = alternatives(control, _fraction(run, control))
    words = (_name(own), *others)
    return tuple(zip(words, replay_beside(run, control, others.values()), strict=True))


def _fraction(run: Run, control: SelectingControl) -> float:
    """The share of an update's tokens that a control may choose."""
    budget = control.budget
    if budget.count is None:
        return float(budget.fraction or 0.0)
    return budget.count / max(float(run.steps(by="update")["n_tokens"].mean()), 1.0)


def _name(own: SelectingControl | None) -> str:
    if own is None:
        return "Clip-Cov, 0.02 % (paper)"
    budget = own.budget
    amount = f"{100 * (budget.fraction or 0):.3g} %" if budget.count is None else f"{budget.count:,} tokens"
    return f"{type(own).__name__}, {amount} (its own)"


def replays_section(findings: Findings) -> Iterator[Block]:
    """Micro-batches as panels, then a table of controls for each run."""
    yield Heading(2, "What other controls would have chosen")
    yield Paragraph(OPENING)
    yield from in_rows(findings.replays, _picture, "replay", "nothing is replayed")
    found = [finding for finding in findings.replays if finding.result is not None]
    for finding in found:
        yield Heading(3, finding.label)
        yield _controls(finding.result)
    if found:
        yield Paragraph(NOTE, "note")
        yield Fold("The replays in words, micro-batches in numbers", tuple(_in_words(found)))


def _picture(found: Sequence[Finding], key: str) -> Picture:
    drawing = side_by_side(found, lambda finding, ax: draw_pieces(finding.result[0][1], ax))
    with look():
        share_legend(drawing, drawing.axes)
    counts = "; ".join(f"{one.label} {_counts(*one.result[0])}" for one in found)
    caption = (
        "A loss that sees so many responses at a time centres the covariance on them alone, and chooses "
        "other tokens. Orange: share of the choice on the whole update that is chosen too; dashed: root mean "
        "square error of the covariance over its standard deviation in the update. Counts over all updates, "
        f"no interval. Replayed: {counts}."
    )
    return Picture(drawing, "The same choice in micro-batches.", caption, key=key)


def _counts(words: str, result: Replay) -> str:
    return (
        f"{words}, {result.n_tokens:,} tokens in {len(result.updates):,} updates of the steps "
        f"{result.steps[0]} to {result.steps[-1]}"
    )


def _controls(found: Sequence[tuple[str, Replay]]) -> Table:
    columns = ("control", "chosen", "covariance", *QUADRANTS.values(), "overlap")
    return table(columns, [[_two_lines(words), *_row(result)] for words, result in found])


def _two_lines(words: str) -> str:
    name, _, amount = words.partition(", ")
    return under(name, amount)


def _row(result: Replay) -> list[str]:
    quadrants = [share(_part(result.quadrants[name], result.n_chosen)) for name in QUADRANTS]
    overlap = number(result.overlap, 2) if result.n_selected else MISSING
    chosen = under(share(result.fraction), f"{result.n_chosen:,} tokens")
    return [chosen, share(result.mass_removed), *quadrants, overlap]


def _part(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _in_words(found: Sequence[Finding]) -> Iterator[Block]:
    for finding in found:
        words, result = finding.result[0]
        yield Heading(3, f"{finding.label}: {words}")
        yield from lines(result.summary(), "note")
        if not result.pieces.empty:
            yield _pieces(result)


def _pieces(result: Replay) -> Table:
    columns = (
        "responses at a time",
        "chosen",
        "of the whole-batch choice",
        "its own alone",
        "covariance off by",
    )
    rows = [
        [
            f"{row.responses}",
            under(share(row.fraction), f"{row.chosen:,} tokens"),
            share(row.overlap),
            share(row.extra),
            number(row.covariance_error),
        ]
        for row in result.pieces.itertuples()
    ]
    return table(columns, rows)
