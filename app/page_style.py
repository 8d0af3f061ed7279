"""The style sheet of the pages: calm spacing, the opening sentence, colour chips that look like their lines."""

from __future__ import annotations

import math
from base64 import b64encode
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

import streamlit as st

from entropylab.plots.style import Style

ICON = str(Path(__file__).with_name("icon.svg"))
"""The page's icon, beside the code: one that is named would be fetched from outside."""

_SHEET = """
<style>
[data-testid="stMainBlockContainer"] { padding: 4.2rem 2.2rem 4rem; max-width: 1500px; }
[data-testid="stSidebarUserContent"] { padding-bottom: 2rem; }
[data-testid="stSidebar"] [data-testid="stExpanderDetails"] { padding: .2rem .6rem .5rem; }
[data-testid="stSidebar"] [data-testid="stExpanderDetails"] [data-testid="stVerticalBlock"] { gap: .35rem; }
[data-testid="stMainBlockContainer"] > [data-testid="stVerticalBlock"] { gap: .8rem; }
[data-testid="stMetricValue"] { font-size: 1.55rem; line-height: 1.3; font-variant-numeric: tabular-nums; }
[data-testid="stMetricLabel"] p { font-size: .8rem; opacity: .75; }
[data-testid="stMetric"] { padding: .7rem .85rem .5rem; }
[class*="st-key-foot_"] { gap: .9rem; align-items: center; margin-bottom: .4rem; }
[class*="st-key-foot_"] [data-testid="stCaptionContainer"] { margin: 0; }
[class*="st-key-foot_"] p { margin: 0; font-size: .75rem; }
.st-key-guide { max-width: 56rem; }
.st-key-guide h2 { font-size: 1.35rem; }
[class*="st-key-csv_"] button { min-height: 0; padding: 0; opacity: .55; }
[class*="st-key-csv_"] button:hover, [class*="st-key-csv_"] button:focus-visible { opacity: 1; }
[class*="st-key-csv_"] button p { font-size: .75rem; }
.el-say { font-size: 1.22rem; line-height: 1.45; font-weight: 500; margin: 0; max-width: 62rem; text-wrap: pretty; }
.el-also { font-size: .9rem; line-height: 1.5; opacity: .72; margin: .3rem 0 0; max-width: 62rem; text-wrap: pretty; }
.el-heading { font-size: .82rem; opacity: .75; margin: 0 0 .35rem; }
.el-warn p { font-size: .85rem; line-height: 1.5; margin: 0; opacity: .85; text-wrap: pretty; }
.el-legend { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; font-size: .85rem; margin: .1rem 0; }
.el-legend span { display: inline-flex; align-items: center; gap: .4rem; }
.el-legend i { width: 22px; height: 3px; border-radius: 2px; flex: none; }
.el-tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: .6rem; margin: .4rem 0 .2rem; }
.el-tile { border: 1px solid rgba(128,128,128,.28); border-radius: .6rem; padding: .6rem .8rem .55rem; min-width: 0;
  display: flex; flex-direction: column; overflow: hidden; }
.el-tile > span { font-size: .78rem; opacity: .75; }
.el-tile > b { font-size: 1.4rem; font-weight: 600; line-height: 1.35; font-variant-numeric: tabular-nums; }
.el-tile > small { font-size: .76rem; opacity: .72; line-height: 1.35; }
.el-tile > img { display: block; width: 100%; height: 30px; margin-top: auto; padding-top: .4rem; }
.el-cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(260px, 1fr)); gap: .6rem; margin: .4rem 0; }
.el-card { border: 1px solid rgba(128,128,128,.28); border-radius: .6rem; padding: .65rem .85rem .7rem; }
.el-card span { font-size: .78rem; opacity: .75; display: block; }
.el-card b { font-weight: 600; font-size: 1.05rem; display: block; margin: .1rem 0 .15rem; }
.el-card b::first-letter { text-transform: uppercase; }
.el-card small { font-size: .8rem; opacity: .78; line-height: 1.45; display: block; text-wrap: pretty; }
.el-plate { display: grid; grid-template-columns: 1fr 1fr; gap: .5rem; max-width: 62rem; }
.el-cell { display: flex; gap: .9rem; align-items: center; border: 1px solid rgba(128,128,128,.28);
  border-radius: .6rem; padding: .7rem .8rem; }
.el-cell span { font-size: .82rem; font-weight: 600; display: block; margin-bottom: .15rem; }
.el-cell small { font-size: .8rem; display: block; line-height: 1.45; opacity: .85; }
.el-box { position: relative; width: 120px; height: 120px; flex: none; background: rgba(128,128,128,.07); }
.el-box i { position: absolute; left: 50%; top: 50%; transform: translate(-50%, -50%); box-sizing: border-box; }
.el-fill { border: 1px solid rgba(128,128,128,.6); }
.el-outline { border: 2.5px solid currentColor; }
.el-dotted { border: 2px dotted currentColor; opacity: .7; }
.el-key { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; font-size: .8rem; margin-top: .5rem; opacity: .9; }
.el-key span { display: inline-flex; align-items: center; gap: .4rem; }
.el-key i { width: 14px; height: 14px; display: inline-block; box-sizing: border-box; }
.el-key i.el-fill { background: rgba(128,128,128,.35); }
.el-key i.el-scale { width: 90px; height: 10px; border: 1px solid rgba(128,128,128,.5); }
@media (max-width: 640px) {
  .el-cell { flex-direction: column; align-items: flex-start; gap: .5rem; padding: .6rem; }
  .el-box { width: 90px; height: 90px; }
  .el-tiles { grid-template-columns: 1fr 1fr; }
  [data-testid="stMainBlockContainer"] { padding: 4rem 1rem 3rem; }
  .el-say { font-size: 1.08rem; }
}
</style>
"""

_GAPS = {"dash": (7, 3), "dot": (3, 2), "dashdot": (9, 3)}


def apply() -> None:
    """Put the style sheet on the page."""
    st.html(_SHEET)


def stroke(style: Style) -> str:
    """A CSS background that looks like the style's line: solid, or with the gaps of its dash."""
    if style.dash not in _GAPS:
        return style.color
    on, off = _GAPS[style.dash]
    return f"repeating-linear-gradient(90deg,{style.color} 0 {on}px,transparent {on}px {on + off}px)"


def chips(styles: Iterable[tuple[str, Style]]) -> None:
    """A line sample before the label of each check box, by the box's key."""
    rules = "".join(
        f".st-key-{key} label p::before{{content:'';display:inline-block;width:22px;height:3px;border-radius:2px;"
        f"margin-right:.45rem;vertical-align:middle;background:{stroke(style)}}}"
        for key, style in styles
    )
    st.html(f"<style>{rules}</style>")


def legend(styles: Iterable[tuple[str, Style]]) -> None:
    """One legend for all charts of a view."""
    items = "".join(
        f'<span><i style="background:{stroke(s)}"></i>{escape(label)}</span>' for label, s in styles
    )
    st.html(f'<div class="el-legend">{items}</div>')


def _unbroken(text: str) -> str:
    """Text for the page in which no line breaks between a number and its per cent sign."""
    return escape(text).replace(" %", "\u00a0%")


def warn(warnings: Iterable[str]) -> None:
    """The warnings of a result, a quiet line each."""
    lines = "".join(f"<p>▲ {escape(text)}.</p>" for text in warnings)
    if lines:
        st.html(f'<div class="el-warn">{lines}</div>')


def opening(sentence: str, also: str = "") -> None:
    """The first line of a view: one sentence with a number and its uncertainty, and what is not known."""
    rest = f'<p class="el-also">{_unbroken(also)}</p>' if also else ""
    st.html(f'<p class="el-say">{_unbroken(sentence)}</p>{rest}')


@dataclass(frozen=True)
class Tile:
    """One number: label, value, lines on what it is and was, and its course as a sparkline."""

    label: str
    value: str
    notes: Sequence[str] = ()
    course: Sequence[float] = ()
    color: str = "#808080"


def tiles(row: Iterable[Tile], heading: str = "") -> None:
    """Tiles of equal size under a quiet heading; on a narrow screen two columns."""
    cells = "".join(
        f'<div class="el-tile"><span>{escape(tile.label)}</span>'
        f"<b>{escape(tile.value)}</b>{''.join(f'<small>{escape(note)}</small>' for note in tile.notes)}"
        f"{_sparkline(tile.course, tile.color)}</div>"
        for tile in row
    )
    above = f'<p class="el-heading">{escape(heading)}</p>' if heading else ""
    st.html(f'{above}<div class="el-tiles">{cells}</div>')


def cards(lines: Iterable[tuple[str, str, str]]) -> None:
    """Questions with their answers and the reasons, side by side."""
    cells = "".join(
        f'<div class="el-card"><span>{escape(question)}</span><b>{escape(answer)}</b><small>{escape(why)}</small></div>'
        for question, answer, why in lines
    )
    st.html(f'<div class="el-cards">{cells}</div>')


def _sparkline(course: Sequence[float], color: str) -> str:
    """A line of the values in a box of 100 x 20, as wide as the tile; nothing for fewer than two values."""
    known = [(i, y) for i, y in enumerate(course) if math.isfinite(y)]
    if len(known) < 2:
        return ""
    low, high = min(y for _, y in known), max(y for _, y in known)
    span = (high - low) or 1.0
    places = " ".join(f"{100 * i / (len(course) - 1):.2f},{19 - 18 * (y - low) / span:.2f}" for i, y in known)
    picture = (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 100 20" preserveAspectRatio="none">'
        f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="1.5" '
        'vector-effect="non-scaling-stroke"/></svg>'
    )
    return f'<img alt="" src="data:image/svg+xml;base64,{b64encode(picture.encode()).decode()}">'
