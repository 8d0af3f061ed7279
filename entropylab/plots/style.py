"""One look for every screen: which colour, dash and marker a method has. Plain data, no plotting package."""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass

from .text import one_line

ORANGE, SKY, GREEN, YELLOW = "#E69F00", "#56B4E9", "#009E73", "#F0E442"
BLUE, VERMILLION, PURPLE = "#0072B2", "#D55E00", "#CC79A7"
"""The palette of Okabe and Ito (2008), told apart with every common colour vision."""
NEUTRAL, LIGHT = "#66798A", "#A9B1B8"
"""The baseline's grey-blue and the placebo's light grey."""

GHOST, BAND = 0.20, 0.15
"""Opacity of raw data under a smoothed line, and of an interval's band."""
LINE_WIDTH = 1.5
DIVERGING = ("#0072B2", "#FFFFFF", "#E69F00")
"""Low, zero, high: for signed quantities such as the covariance."""
SEQUENTIAL = ("#E8F1FA", "#08306B")
"""Low, high: one hue, dark = high, for quantities such as the entropy or the step."""

DASHES = {"solid": "-", "dash": (0, (5, 2)), "dot": (0, (1, 1.5)), "dashdot": (0, (5, 1.5, 1, 1.5))}
"""Name of a dash (as Plotly calls it) -> matplotlib's line style."""
MARKERS = {"circle": "o", "square": "s", "diamond": "D", "triangle-up": "^", "cross": "P", "x": "X"}
"""Name of a marker (as Plotly calls it) -> matplotlib's marker."""


@dataclass(frozen=True)
class Style:
    """How one method is drawn: a colour, and a dash and a marker that repeat the meaning without colour."""

    color: str
    dash: str = "solid"
    marker: str = "circle"


_FIXED: dict[str, Style] = {
    "baseline": Style(NEUTRAL),
    "grpo": Style(NEUTRAL),
    "reinforce": Style(NEUTRAL, "dot", "x"),
    "clip_cov": Style(ORANGE, "solid", "square"),
    "clip_cov_top": Style(ORANGE, "dash", "triangle-up"),
    "clip_cov_micro": Style(ORANGE, "dot", "cross"),
    "kl_cov": Style(GREEN, "solid", "diamond"),
    "kl_cov_32b": Style(GREEN, "dash", "diamond"),
    "kl_cov_targeted": Style(GREEN, "dot", "triangle-up"),
    "placebo": Style(LIGHT, "dash", "x"),
    "random_clip": Style(LIGHT, "dash", "x"),
    "clip_higher": Style(SKY, "dashdot", "triangle-up"),
    "entropy_bonus": Style(PURPLE, "dash", "cross"),
    "kl_penalty": Style(BLUE, "dot", "triangle-up"),
    "steer": Style(VERMILLION, "dashdot", "diamond"),
}
_FOLLOW: tuple[Style, ...] = (
    Style(VERMILLION, "dashdot", "triangle-up"),
    Style(BLUE, "dash", "cross"),
    Style(SKY, "dot", "x"),
    Style(PURPLE, "solid", "circle"),
    Style(VERMILLION, "dash", "cross"),
    Style(BLUE, "solid", "square"),
)


_SPELLED = {
    "clip_cov": "Clip-Cov",
    "kl_cov": "KL-Cov",
    "kl_penalty": "KL penalty",
    "steer": "STEER",
    "32b": "32B",
    "7b": "7B",
}
"""Parts of a label that are not written as they stand."""


def method_style(label: str) -> Style:
    """The fixed style of a method or run label: the longest known prefix decides, others keep one too."""
    key = label.strip().lower().replace("-", "_").replace(" ", "_")
    known = [name for name in _FIXED if key == name or key.startswith(name + "_")]
    if known:
        return _FIXED[max(known, key=len)]
    return _FOLLOW[zlib.crc32(key.encode()) % len(_FOLLOW)]


def run_style(name: str, method: str = "unknown") -> Style:
    """The style of a run: its method's, or its own name's where the method is unknown."""
    return method_style(name if method in ("", "unknown") else method)


def method_label(method: str) -> str:
    """A method's label as people read it: ``clip_cov`` is "Clip-Cov", ``kl_cov_32b`` "KL-Cov 32B"."""
    words = one_line(method).replace("-", "_")
    for raw, shown in _SPELLED.items():
        words = re.sub(rf"(?<![a-z]){raw}(?![a-z])", shown, words)
    words = words.replace("_", " ").strip()
    return words[:1].upper() + words[1:]
