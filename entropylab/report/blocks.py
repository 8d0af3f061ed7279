"""What a report is made of, before it is HTML or Markdown; every text is plain text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LONGEST = 4000
"""Characters of a paragraph or cell that is shown in full."""


@dataclass(frozen=True)
class Heading:
    """A heading; level 1 is the title."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """One paragraph; ``kind``: "byline", "note" or none."""

    text: str
    kind: str = ""


@dataclass(frozen=True)
class Summary:
    """The sentences to quote."""

    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """A table; the first column is text, the others numbers unless ``text``.

    What follows a line break in a cell is small, such as an interval under its number.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: bool = False


@dataclass(frozen=True)
class Picture:
    """A figure with its title and caption; ``key`` names it and is its own in the report."""

    drawing: Figure
    title: str
    caption: str
    key: str


@dataclass(frozen=True)
class Fold:
    """Blocks that a page shows on request."""

    title: str
    blocks: tuple[Block, ...]


Block = Heading | Paragraph | Summary | Table | Picture | Fold


def table(columns: Iterable[str], rows: Iterable[Iterable[str]], *, text: bool = False) -> Table:
    """A table of any columns and rows."""
    return Table(tuple(columns), tuple(tuple(row) for row in rows), text)


def lines(text: str, kind: str = "") -> tuple[Paragraph, ...]:
    """Each line of plain text as a paragraph."""
    return tuple(Paragraph(line, kind) for line in text.splitlines() if line.strip())
