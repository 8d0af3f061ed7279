"""Checks of the fields of settings; they name the field, the value and the mend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import InvalidInputError


def require_fraction(owner: str, value: Any, *, name: str = "fraction") -> None:
    """Raise unless ``value`` is a number strictly between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0.0 < value < 1.0:
        raise InvalidInputError(
            f"{owner}: {name}={value!r} is not in (0, 1); give a fraction, not a percentage "
            f"(0.2 % is {name}=0.002)"
        )


def require_choice(owner: str, name: str, value: Any, choices: Sequence[str]) -> None:
    """Raise unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise InvalidInputError(f"{owner}: {name}={value!r} is unknown; choose one of {', '.join(choices)}")


def require_number(owner: str, name: str, value: Any, *, least: float = -math.inf) -> None:
    """Raise unless ``value`` is a finite number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise InvalidInputError(f"{owner}: {name}={value!r} is not a finite number")
    if value < least:
        raise InvalidInputError(f"{owner}: {name}={value!r} is below {least:g}")


def require_count(owner: str, name: str, value: Any, *, least: int) -> None:
    """Raise unless ``value`` is a whole number of at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidInputError(f"{owner}: {name}={value!r} is not a whole number of at least {least}")


def require_clip(owner: str, low: Any, high: Any) -> None:
    """Raise unless 1-``low`` and 1+``high`` bound a ratio: 0 <= low <= 1 and 0 <= high."""
    require_number(owner, "low", low, least=0.0)
    require_number(owner, "high", high, least=0.0)
    if low > 1.0:
        raise InvalidInputError(
            f"{owner}: low={low!r} is above 1: a ratio is never below 0; low=1 sets no bound"
        )
