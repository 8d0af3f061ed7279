"""The frame of a report page, style and script inline, and the few HTML pieces it is made of."""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape as html_escape
from importlib import resources

from entropylab.plots.text import shorten, visible

from .blocks import LONGEST

PIXELS = 1.6
"""Pixels on the page for each point of a drawing."""
LEAST = 0.75
"""Share of its full width below which a drawing scrolls instead of shrinking."""


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document that fetches nothing and whose one script sorts tables.

    Its policy lets a browser run this script and no other, whatever the body holds.
    """
    script = _resource("sort.js")
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_resource('page.css')}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + f"\n</main>\n<script>{script}</script>\n</body>\n</html>\n"
    )


def escape(text: str) -> str:
    """Plain text as HTML: no mark-up, nothing invisible, nothing endless is left in it."""
    return html_escape(visible(shorten(text, LONGEST)))


def heading(level: int, text: str) -> str:
    """A heading of plain text."""
    return f"<h{level}>{escape(text)}</h{level}>"


def fold_title(text: str) -> str:
    """The visible line of something folded."""
    return f"<summary>{escape(text)}</summary>"


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def figure(svg: str, title: str, caption: str, *, key: str) -> str:
    """A figure with its caption; ``key`` makes the ids inside the drawing unique on the page."""
    drawing = _own_ids(_sized(svg), key).replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    words = f"<b>{escape(title)}</b> {escape(caption)}"
    return f'<figure>\n<div class="scroll">{drawing}</div>\n<figcaption>{words}</figcaption>\n</figure>'


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False) -> str:
    """A table; the first column is text, the others numbers unless ``text``."""
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    cell = '<td class="long">' if text else "<td>"
    body = "\n".join(
        "<tr>" + "".join(f"{cell}{_two_lines(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    inner = f"<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>"
    return f'<div class="scroll"><table{_class("text" if text else "")}>\n{inner}</table></div>'


def _two_lines(value: str) -> str:
    """A cell's text; what follows a line break is small, such as an interval under its number."""
    first, _, second = escape(value).partition("\n")
    return f"{first}<br><small>{second}</small>" if second else first


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _sized(svg: str) -> str:
    """The drawing as wide as the column, but its type no larger than in the others and always readable."""
    width = re.search(r'\bwidth="([\d.]+)pt"', svg)
    if width is None:
        return svg
    svg = re.sub(r'\s(?:width|height)="[\d.]+pt"', "", svg, count=2)
    widest = PIXELS * float(width[1])
    style = f"max-width: {widest:.0f}px; min-width: {LEAST * widest:.0f}px"
    return svg.replace("<svg", f'<svg style="{style}"', 1)


def _own_ids(svg: str, key: str) -> str:
    """Prefix the drawing's ids; drop its metadata and name spaces, which an HTML page does not need."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(?::\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{key}-\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", svg)
