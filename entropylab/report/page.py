"""The frame of a report page: inline CSS for light and dark, and the few HTML pieces it is made of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

CSS = """
:root { --ink: #1c2733; --muted: #566573; --paper: #ffffff; --line: #d9dfe5; --soft: #f4f6f8; --accent: #0060a0; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e3e8ed; --muted: #a3b0bc; --paper: #12171d; --line: #313b45; --soft: #1b222a; --accent: #7cc0f0; }
}
* { box-sizing: border-box; }
html { color-scheme: light dark; -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main { max-width: 52rem; margin: 0 auto; padding: 3rem 1.25rem 5rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .3rem; letter-spacing: -.01em; }
h2 { font-size: 1.2rem; margin: 3rem 0 .8rem; padding-top: 1rem; border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 1.6rem 0 .4rem; }
p, ul { margin: .5rem 0 .9rem; }
li { margin: .35rem 0; }
code, pre { font: .86em/1.5 ui-monospace, SFMono-Regular, Menlo, Consolas, monospace; }
pre { white-space: pre-wrap; background: var(--soft); border-radius: 6px; padding: .7rem .9rem; }
.byline, .note { color: var(--muted); font-size: .9rem; }
.summary { background: var(--soft); border-left: 3px solid var(--accent); border-radius: 0 6px 6px 0;
  padding: .8rem 1.2rem; margin: 1.4rem 0; }
.summary p { margin: .5rem 0; }
figure { margin: 1.6rem 0 2.2rem; }
figure svg { display: block; width: 100%; height: auto; color: var(--ink); }
figure.narrow svg { max-width: 30rem; }
svg text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, Arial, sans-serif !important; }
figcaption { color: var(--muted); font-size: .88rem; line-height: 1.5; margin-top: .6rem; }
figcaption b { color: var(--ink); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; width: 100%; }
th, td { text-align: right; padding: .32rem .6rem; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--muted); border-bottom-width: 2px; }
th:first-child, td:first-child, table.text th, table.text td { text-align: left; padding-left: 0; }
td.long { overflow-wrap: anywhere; }
details { margin: .6rem 0; } summary { cursor: pointer; color: var(--accent); }
.chip { display: inline-block; width: .65em; height: .65em; border-radius: 2px; margin-right: .45em; }
@media (max-width: 30rem) { main { padding: 1.5rem .9rem 3rem; } h1 { font-size: 1.5rem; } }
@media print { main { max-width: none; padding: 0; } figure, table { break-inside: avoid; } }
"""


def page(title: str, body: Iterable[str]) -> str:
    """A whole HTML document without a script and without anything fetched."""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(body)
        + "\n</main>\n</body>\n</html>\n"
    )


def paragraph(text: str, kind: str = "") -> str:
    """A paragraph of plain text."""
    return f"<p{_class(kind)}>{escape(text)}</p>"


def paragraphs(text: str, kind: str = "") -> str:
    """Each line of plain text as a paragraph."""
    return "\n".join(paragraph(line, kind) for line in text.splitlines() if line.strip())


def figure(svg: str, title: str, caption: str, *, key: str, narrow: bool = False) -> str:
    """A figure with its caption; ``key`` makes the ids inside the drawing unique on the page."""
    drawing = _own_ids(svg, key).replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)
    return (
        f"<figure{_class('narrow' if narrow else '')}>\n{drawing}\n"
        f"<figcaption><b>{escape(title)}</b> {escape(caption)}</figcaption>\n</figure>"
    )


def table(columns: Sequence[str], rows: Iterable[Sequence[str]], *, text: bool = False) -> str:
    """A table; the first column is text, the others numbers unless ``text``."""
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    cell = '<td class="long">' if text else "<td>"
    body = "\n".join(
        "<tr>" + "".join(f"{cell}{escape(value)}</td>" for value in row) + "</tr>" for row in rows
    )
    kind = _class("text" if text else "")
    return f'<div class="scroll"><table{kind}>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def _own_ids(svg: str, key: str) -> str:
    """Prefix the drawing's ids; drop its metadata and name spaces, which an HTML page does not need."""
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\sxmlns(?::\w+)?="[^"]*"', "", svg)
    svg = re.sub(r'\bid="([^"]+)"', rf'id="{key}-\1"', svg)
    svg = re.sub(r'href="#([^"]+)"', rf'href="#{key}-\1"', svg)
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{key}-\1)", svg)
