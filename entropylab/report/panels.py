"""One panel a run, a few beside each other, and a sentence where a run has none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from entropylab.plots.figure import NARROW, WIDE, look, new_figure
from entropylab.plots.text import drawn

from .blocks import Paragraph, Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from .finding import Finding

COLUMNS = 3
"""Panels beside each other."""


def in_rows(
    found: Sequence[Finding], picture: Callable[[Sequence[Finding], str], Picture], key: str, lacking: str
) -> Iterator[Paragraph | Picture]:
    """Pictures of up to three findings each, then a sentence for each finding without a result."""
    known = [finding for finding in found if finding.result is not None]
    for start in range(0, len(known), COLUMNS):
        yield picture(known[start : start + COLUMNS], f"{key}{start}")
    for finding in found:
        if finding.result is None:
            yield Paragraph(f"{finding.label}: {lacking}. {finding.missing}.")


def side_by_side(found: Sequence[Finding], panel: Callable[[Finding, Axes], object]) -> Figure:
    """A figure with ``panel(finding, ax)`` for each, under the run's label."""
    width = NARROW if len(found) == 1 else WIDE
    drawing, axes = new_figure(width, 2.7, ncols=len(found), squeeze=False)
    with look():
        for ax, finding in zip(axes[0], found, strict=True):
            panel(finding, ax)
            ax.set_title(drawn(finding.label))
    return drawing
