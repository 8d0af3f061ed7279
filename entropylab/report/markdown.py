"""The blocks of a report as Markdown (GitHub's tables) beside figures; text from runs stays text."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import quote

from entropylab.plots.figure import svg_file
from entropylab.plots.text import shorten, visible

from .blocks import LONGEST, Block, Fold, Heading, Paragraph, Picture, Summary, Table

_MARKS = re.compile(r"[\\`*\[\]|~$#]|_(?![A-Za-z0-9])|(?<![A-Za-z0-9])_")
"""Marks anywhere in a line; an underline between letters is none."""
_LINKS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
"""What GitHub makes a link of without any brackets."""
_START = re.compile(r"^(?:[-+=]|\d+(?=[.)]))")
"""Marks that mean something only at the start of a line: lists and underlines."""


@dataclass(frozen=True)
class Markdown:
    """A text and the files that it shows, name -> SVG; they belong into ``folder`` beside the text."""

    folder: str
    lines: list[str] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The whole text."""
        return "\n\n".join(self.lines) + "\n"


def to_markdown(blocks: Iterable[Block], folder: str) -> Markdown:
    """Text and figures; a figure's name holds a digest of it, so that no text shows another's figure."""
    made = Markdown(folder)
    for block in blocks:
        made.lines.extend(_pieces(block, made))
    return made


def inline(text: str) -> str:
    """Plain text as Markdown inside a line: no mark-up, link or HTML is left in it."""
    safe = shorten(" ".join(visible(text).split()), LONGEST)
    safe = safe.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _LINKS.sub(r"\\\g<0>", _MARKS.sub(r"\\\g<0>", safe))


def line(text: str) -> str:
    """Plain text as a line of its own."""
    return _START.sub(_escaped_start, inline(text))


def _escaped_start(match: re.Match[str]) -> str:
    return f"{match[0]}\\" if match[0].isdigit() else f"\\{match[0]}"


def _pieces(block: Block, made: Markdown, deeper: int = 0) -> Iterator[str]:
    match block:
        case Heading(level, text):
            yield f"{'#' * (level + deeper)} {line(text)}"
        case Paragraph(text):
            yield line(text)
        case Summary(sentences):
            yield "\n>\n".join(f"> {line(sentence)}" for sentence in sentences)
        case Table():
            yield _table(block)
        case Picture(title=title, caption=caption):
            yield f"![{inline(title)}]({quote(made.folder)}/{_keep(block, made)})"
            yield f"**{inline(title)}** {inline(caption)}"
        case Fold(title, blocks):
            yield f"### {line(title)}"
            for inner in blocks:
                yield from _pieces(inner, made, deeper=1)


def _keep(picture: Picture, made: Markdown) -> str:
    svg = svg_file(picture.drawing)
    name = f"{picture.key}-{hashlib.sha256(svg.encode()).hexdigest()[:8]}.svg"
    made.files[name] = svg
    return name


def _table(table: Table) -> str:
    number = "---" if table.text else "---:"
    rule = ["---", *[number] * (len(table.columns) - 1)]
    rows = [map(inline, table.columns), rule, *(map(_cell, row) for row in table.rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _cell(value: str) -> str:
    first, _, second = value.partition("\n")
    return f"{inline(first)}<br>{inline(second)}" if second.strip() else inline(first)
