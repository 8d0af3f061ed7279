"""The blocks of a report as one HTML page."""

from __future__ import annotations

from collections.abc import Iterable

from entropylab.plots.figure import to_svg

from . import page
from .blocks import Block, Fold, Heading, Paragraph, Picture, Summary, Table


def to_html(blocks: Iterable[Block]) -> str:
    """The whole document."""
    return page.page("entropylab report", map(_piece, blocks))


def _piece(block: Block) -> str:
    match block:
        case Heading(level, text):
            return page.heading(level, text)
        case Paragraph(text, kind):
            return page.paragraph(text, kind)
        case Summary(sentences):
            return '<div class="summary">' + "\n".join(map(page.paragraph, sentences)) + "</div>"
        case Table(columns, rows, text):
            return page.table(columns, rows, text=text)
        case Picture(drawing, title, caption, key):
            return page.figure(to_svg(drawing), title, caption, key=key)
        case Fold(title, blocks):
            inner = "\n".join(map(_piece, blocks))
            return f"<details>{page.fold_title(title)}\n{inner}\n</details>"
