"""How the runs stand: a row a run, then each alert as a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from .blocks import Block, Heading, Paragraph, table
from .numbers import MISSING, between, number, share, under

if TYPE_CHECKING:
    from entropylab.analysis.health import Health
    from entropylab.record.alerts import Decline

    from .finding import Finding
    from .findings import Findings

COLUMNS = (
    "run",
    "state",
    "H now",
    "H left",
    "half-life",
    "gain used",
    "no advantage",
    "selected",
    "alerts",
)
NOTE = (
    "State: collapsed below 10 % of the entropy at the start, collapsing if it gets there within 50 steps at "
    "the present rate, else falling or steady by the last quarter of the steps; unknown below 20 steps. H in "
    "nats, means over the last and the first 10 steps. Half-life: steps in which H halves at its present "
    "rate, over the 95 % interval of the rate; where H is not shown to fall, that of its change a step. Gain "
    "used: of the gain down to H = 0 that the law R = b - a exp(H) allows, if it holds; no fit is used. No "
    "advantage: responses whose advantages are all 0. Selected: tokens that the control acted on. Both are "
    "shares over the last 10 steps."
)


def health_section(findings: Findings) -> Iterator[Block]:
    """The table of all runs, its note, the alerts, and who could not be judged."""
    yield Heading(2, "How the runs stand")
    found = [finding for finding in findings.health if finding.result is not None]
    if found:
        yield table(COLUMNS, [[finding.label, *_row(finding.result)] for finding in found])
        yield Paragraph(NOTE, "note")
        yield from _alerts(found)
    for finding in findings.health:
        if finding.result is None:
            yield Paragraph(f"{finding.label}: its state is unknown. {finding.missing}.")


def _alerts(found: Sequence[Finding]) -> Iterator[Paragraph]:
    for finding in found:
        for alert in finding.result.alerts:
            kind = alert.kind.replace("_", " ")
            yield Paragraph(f"Alert, {finding.label}, {kind}: {alert.message}.")
    if not any(finding.result.alerts for finding in found):
        yield Paragraph("No alerts.")


def _row(health: Health) -> list[str]:
    return [
        health.verdict,
        under(number(health.entropy_now), f"from {number(health.entropy_start)}"),
        share(health.entropy_left),
        half_life(health.decline),
        share(health.gain_used),
        share(health.zero_advantage_fraction),
        share(health.selected_fraction),
        str(len(health.alerts)),
    ]


def half_life(decline: Decline | None) -> str:
    """Steps over their interval; where the entropy is not shown to fall, the interval of its change."""
    if decline is None:
        return MISSING
    if decline.half_life is None:
        return under(MISSING, f"{between(100 * decline.low, 100 * decline.high, 2, '+')} % a step")
    fast, slow = (math.log(2.0) / -rate for rate in (decline.low, decline.high))
    return under(f"{decline.half_life:,.0f}", f"{fast:,.0f} to {slow:,.0f}")
