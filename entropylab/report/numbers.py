"""Numbers as they stand in the cells of a report."""

from __future__ import annotations

import math

MISSING = "–"


def number(value: float | None, digits: int = 3, sign: str = "") -> str:
    """A number with fixed decimals; a dash where there is none. ``sign``: "+" shows it on both sides of 0."""
    return f"{value:{sign}.{digits}f}" if _known(value) else MISSING


def share(value: float | None) -> str:
    """A share as per cent, with a decimal where it is small."""
    if value is None or not _known(value):
        return MISSING
    percent = 100 * value
    return f"{percent:.0f} %" if abs(percent) >= 10 or percent == 0 else f"{percent:.2g} %"


def between(low: float | None, high: float | None, digits: int = 3, sign: str = "") -> str:
    """An interval, "low to high"; nothing where there is none."""
    known = _known(low) and _known(high)
    return f"{number(low, digits, sign)} to {number(high, digits, sign)}" if known else ""


def with_interval(
    value: float | None, low: float | None, high: float | None, digits: int = 3, sign: str = ""
) -> str:
    """A number over its interval, in two lines; the number alone where there is no interval."""
    return under(number(value, digits, sign), between(low, high, digits, sign))


def under(value: str, small: str) -> str:
    """What stands small under a value, in two lines of one cell."""
    return f"{value}\n{small}" if small else value


def _known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)
