"""A response as flowing text: one span a token, its colour the chosen quantity, an outline where selected."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape

import pandas as pd
from selection_charts import mix
from wording import number

from entropylab.analysis.responses import QUANTITIES, SIGNED
from entropylab.plots.style import DIVERGING, SEQUENTIAL

MOST_TOKENS = 4000
LONGEST_TOKEN = 120

SHEET = """
<style>
.el-text { line-height: 2.05; font-size: 1rem; overflow-wrap: anywhere; max-height: 34rem; overflow-y: auto; }
.el-text b { font-weight: 400; padding: .12em .18em; margin: 0 .06em; border-radius: .22em; white-space: pre-wrap;
  color: #16181d; }
.el-text b.el-dark { color: #fff; }
.el-text b.el-chosen { outline: 2px solid currentColor; outline-offset: 1px; }
.el-text i { opacity: .45; font-style: normal; font-size: .8em; padding: 0 .2em; }
.el-strip { display: flex; border: 1px solid rgba(128,128,128,.28); height: 14px; border-radius: 3px; overflow: hidden; margin: .1rem 0; }
.el-strip s { flex: 1; min-width: 0; text-decoration: none; }
.el-member { display: grid; grid-template-columns: 15.5rem 1fr; gap: .6rem; align-items: center; font-size: .8rem; }
.el-member.el-here { font-weight: 600; }
@media (max-width: 640px) { .el-member { grid-template-columns: 1fr; gap: .1rem; } }
</style>
"""


@dataclass(frozen=True)
class Scale:
    """One colour scale for the whole run: a quantity and the range of its colours."""

    quantity: str
    low: float
    high: float

    def color(self, value: float) -> str:
        """The colour of a value; grey where there is none."""
        if not math.isfinite(value):
            return "#80808040"
        if self.quantity in SIGNED:
            return mix(value, self.high)
        weight = min(max((value - self.low) / (self.high - self.low), 0.0), 1.0)
        ends = [[int(end[i : i + 2], 16) for i in (1, 3, 5)] for end in SEQUENTIAL]
        return "#" + "".join(f"{round(a + weight * (b - a)):02x}" for a, b in zip(*ends, strict=True))

    def key(self) -> str:
        """The scale as a legend."""
        stops = DIVERGING if self.quantity in SIGNED else SEQUENTIAL
        bar = f"linear-gradient(90deg,{','.join(stops)})"
        unit = QUANTITIES[self.quantity].replace(" x ", " × ")
        return (
            f'<div class="el-key"><span>{number(self.low, 2)}<i class="el-scale" style="background:{bar}"></i>'
            f"{number(self.high, 2)} {escape(self.quantity)}, {escape(unit)}</span>"
            '<span><i style="outline:2px solid currentColor"></i>selected</span></div>'
        )


def visible(text: str) -> str:
    """Token text for the page: escaped, signs that would not show or would turn the text made visible."""
    short = text if len(text) <= LONGEST_TOKEN else text[:LONGEST_TOKEN] + "…"
    shown = "".join(_sign(sign) for sign in short)
    return escape(shown) or "∅"


def response_html(tokens: pd.DataFrame, scale: Scale) -> str:
    """The tokens of one response as text, with a strip of the whole response above."""
    shown = tokens.head(MOST_TOKENS)
    body = "".join(_spans(shown, scale))
    rest = len(tokens) - len(shown)
    more = f"<i>{rest:,} more tokens</i>" if rest > 0 else ""
    return f'{strip_html(tokens, scale)}<div class="el-text">{body}{more}</div>{scale.key()}'


def strip_html(tokens: pd.DataFrame, scale: Scale, most: int = 400) -> str:
    """The response as a line of colours; a long one shows the strongest token of each stretch."""
    values = tokens[scale.quantity].astype(float)
    size = max(1, math.ceil(len(values) / most))
    groups = values.groupby(values.reset_index(drop=True).index.to_numpy() // size)
    strongest = groups.apply(lambda part: part.loc[part.abs().idxmax()] if part.notna().any() else math.nan)
    cells = "".join(f'<s style="background:{scale.color(value)}"></s>' for value in strongest)
    return f'<div class="el-strip">{cells}</div>'


def group_html(members: list[tuple[str, bool, pd.DataFrame]], scale: Scale) -> str:
    """The responses to one prompt as strips under each other: (label, whether it is the one shown, tokens)."""
    rows = (
        f'<div class="el-member{" el-here" if here else ""}"><span>{escape(label)}</span>'
        f"{strip_html(tokens, scale)}</div>"
        for label, here, tokens in members
    )
    return "".join(rows)


def _spans(tokens: pd.DataFrame, scale: Scale) -> Iterator[str]:
    last = -1
    for row in tokens.to_dict("records"):
        if row["position"] > last + 1:
            yield f'<i title="positions {last + 1} to {row["position"] - 1} are not in the log">⋯</i>'
        last = row["position"]
        color = scale.color(float(row[scale.quantity]))
        kinds = [
            name for name, holds in (("el-chosen", row["selected"]), ("el-dark", _is_dark(color))) if holds
        ]
        text = (
            f"#{row['token_id']:.0f}"
            if row["token"] is None and row["token_id"] == row["token_id"]
            else row["token"]
        )
        yield (
            f'<b class="{" ".join(kinds)}" style="background:{color}" title="{_tip(row)}">'
            f"{visible('?' if text is None else text)}</b>"
        )


def _tip(row: dict) -> str:
    """All quantities of a token."""
    parts = [f"position {row['position']}, {str(row['quadrant']).replace('_', ' probability, advantage ')}"]
    parts += [
        f"{name} {number(float(row[name]), 4)} {unit}"
        for name, unit in QUANTITIES.items()
        if row[name] == row[name]
    ]
    marks = [name for name in ("selected", "clipped") if row[name] is True]
    return escape("\n".join([*parts, *marks]), quote=True)


def _sign(sign: str) -> str:
    code = ord(sign)
    if sign == "\n":
        return "⏎\n"
    if code < 32:
        return chr(0x2400 + code)
    if code == 127 or 0x80 <= code < 0xA0 or 0x200B <= code <= 0x200F or 0x202A <= code <= 0x202E:
        return f"⟨U+{code:04X}⟩"
    return f"⟨U+{code:04X}⟩" if 0x2066 <= code <= 0x2069 or code == 0xFEFF else sign


def _is_dark(color: str) -> bool:
    red, green, blue = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return len(color) == 7 and 0.299 * red + 0.587 * green + 0.114 * blue < 130
