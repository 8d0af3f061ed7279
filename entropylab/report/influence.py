"""How well the covariance and other proxies rank tokens by their exact effect on the entropy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import pandas as pd

from entropylab.analysis.proxy_audit import CAUTION, EXPERIMENT
from entropylab.analysis.proxy_rankings import influence_steps
from entropylab.errors import EntropylabError
from entropylab.plots.proxy_audit import draw_audit

from .blocks import Block, Fold, Heading, Paragraph, Picture, Table, lines, table
from .numbers import MISSING, under, with_interval
from .panels import in_rows, side_by_side

if TYPE_CHECKING:
    from entropylab.analysis.proxy_audit import ProxyAudit
    from entropylab.record.reader import Run

    from .finding import Finding
    from .findings import Findings

OPENING = (
    "The influence of a token is the exact first-order effect of its gradient on the policy's entropy in the "
    "coming optimizer step, in nats. The covariance and the other quantities are proxies for it: how well "
    "does each rank the tokens of an update, and what would it choose?"
)
NOTE = (
    "Rank correlation: Spearman's with the influence. Of the tokens that a quantity chooses, as many as the "
    "figure says: overlap with those that lower the entropy most; capture, their effect over that of these; "
    "the share that raises it; saved, the share of all lowering effect that leaving them out saves, to first "
    "order. Chosen by the control: against as many that lower it most. Means over updates, with intervals by "
    "a jackknife over blocks of prompts; – where there is none."
)
QUADRANTS = {
    "high_above": "likely, advantage above",
    "high_below": "likely, advantage below",
    "low_above": "rare, advantage above",
    "low_below": "rare, advantage below",
}


def holds_influence(run: Run) -> bool:
    """Whether the rows of a run hold influence; those that cannot be read are told by the data section."""
    try:
        return bool(influence_steps(run))
    except EntropylabError:
        return False


def influence_section(findings: Findings) -> Iterator[Block]:
    """The caution, a panel and a table a run, groups on request; nothing where no run holds influence."""
    if not findings.audits:
        return
    yield Heading(2, "Influence of tokens on the entropy")
    yield Paragraph(OPENING)
    yield Paragraph(f"{CAUTION} {EXPERIMENT}")
    yield from in_rows(findings.audits, _picture, "influence", "the proxies are not audited")
    found = [finding for finding in findings.audits if finding.result is not None]
    for finding in found:
        yield Heading(3, finding.label)
        yield _figures(finding.result)
        yield from (Paragraph(f"Note: {warning}.", "note") for warning in finding.result.warnings)
    if found:
        yield Paragraph(NOTE, "note")
        yield Fold("The audits in words, by training, quadrant and entropy", tuple(_in_words(found)))


def _picture(found: Sequence[Finding], key: str) -> Picture:
    counts = "; ".join(f"{one.label} {_counts(one.result)}" for one in found)
    result: ProxyAudit = found[0].result
    caption = (
        f"Effect on the entropy of the {100 * result.fraction:g} % of the tokens of an update that each "
        "quantity chooses, over that of as many that lower it most: 1 is as good as the exact influence. "
        "Orange: the covariance, and what the control chose. Means over updates, with "
        f"{100 * result.level:g} % intervals by prompts. Tokens: {counts}."
    )
    drawing = side_by_side(found, lambda finding, ax: draw_audit(finding.result, ax))
    return Picture(drawing, "What the proxies capture of the entropy's change.", caption, key=key)


def _counts(result: ProxyAudit) -> str:
    steps = f"steps {result.steps[0]} to {result.steps[-1]}"
    return f"{result.n_tokens:,} in {result.n_sets:,} updates of the {steps}"


def _figures(result: ProxyAudit) -> Table:
    columns = ("ranked by", "rank correlation", "overlap", "capture", "raise H", "saved")
    return table(columns, [[str(row["proxy"]), *_cells(row)] for _, row in result.proxies.iterrows()])


def _cells(row: pd.Series) -> list[str]:
    overlap, raises, saved = (_share(row, name) for name in ("overlap", "raises", "saved"))
    return [_number(row, "spearman"), overlap, _number(row, "capture"), raises, saved]


def _number(row: pd.Series, name: str) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"], 2)


def _share(row: pd.Series, name: str) -> str:
    value, low, high = (100 * row[key] for key in (name, f"{name}_low", f"{name}_high"))
    if pd.isna(value):
        return MISSING
    return under(f"{value:.0f} %", "" if pd.isna(low) else f"{low:.0f} to {high:.0f} %")


def _in_words(found: Sequence[Finding]) -> Iterator[Block]:
    for finding in found:
        yield Heading(3, finding.label)
        yield from lines(finding.result.summary(), "note")
        for figure, words in (("spearman", "Rank correlation"), ("capture", "Capture")):
            yield Paragraph(f"{words} within each group alone:", "note")
            yield _groups(finding.result, figure)


def _groups(result: ProxyAudit, figure: str) -> Table:
    """A row a group, a column a quantity."""
    groups = result.groups
    proxies = groups["proxy"].unique().tolist()
    rows = []
    for (_, group), part in groups.groupby(["by", "group"], sort=False):
        by_proxy = part.set_index("proxy")
        cells = [
            _number(by_proxy.loc[proxy], figure) if proxy in by_proxy.index else MISSING for proxy in proxies
        ]
        rows.append([QUADRANTS.get(str(group), str(group)), f"{part['n_tokens'].iloc[0]:,}", *cells])
    return table(("group", "tokens", *proxies), rows)
