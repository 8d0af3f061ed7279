"""Numbers as they stand in a sentence or on a tile."""

from __future__ import annotations

import math

from entropylab.report.numbers import MISSING, share

__all__ = ["interval_text", "number", "percent", "share"]


def number(value: float | None, digits: int = 3) -> str:
    """A number with a fixed count of decimals; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value and abs(value) < 10.0**-digits:
        return f"{value:.1e}"
    return f"{value:.{digits}f}"


def percent(level: float) -> str:
    """The level of an interval, as the results write it."""
    return f"{100 * level:g} %"


def interval_text(interval: tuple[float, float] | None, digits: int = 3) -> str:
    """low to high; empty where there is no interval."""
    if interval is None:
        return ""
    return f"{number(interval[0], digits)} to {number(interval[1], digits)}"
