"""Values of the JSON files of a run, each checked for type and bounds; ValueError says what is wrong."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

_PLAIN = (float, int)
_MOMENT_BOUNDS = (1e39, 1e100, 1e250, 1e250)
"""Of mean, m2, m3 and m4: far above those of 2^53 values of float32, and no product of theirs overflows."""


def whole(value: Mapping[str, Any], name: str, low: int = 0, high: int = 2**53) -> int:
    """An integer field in [low, high]; a bool, a string or a float is none."""
    found = value[name]
    if isinstance(found, bool) or not isinstance(found, int) or not low <= found <= high:
        raise ValueError(f"{name} must be a whole number from {low} to {high}, it is {_short(found)}")
    return found


def number(found: object, name: str, bound: float = sys.float_info.max) -> float:
    """A finite number of at most this size."""
    if isinstance(found, bool) or not isinstance(found, int | float) or not abs(found) <= bound:
        raise ValueError(f"{name} must be a number within {bound:g}, it is {_short(found)}")
    return found


def numbers(value: Mapping[str, Any], name: str) -> dict[str, float | None]:
    """An object of numbers or nulls."""
    found = mapping(value, name)
    if all(x is None or (type(x) in _PLAIN and abs(x) <= sys.float_info.max) for x in found.values()):
        return dict(found)
    return {key: None if x is None else number(x, f"{name}[{key!r}]") for key, x in found.items()}


def mapping(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A field that is an object."""
    found = value[name]
    if not isinstance(found, Mapping):
        raise ValueError(f"{name} must be an object, it is {_short(found)}")
    return found


def text(value: Mapping[str, Any], name: str) -> str:
    """A field that is a string which UTF-8 can hold."""
    found = value[name]
    if not isinstance(found, str):
        raise ValueError(f"{name} must be a string, it is {_short(found)}")
    found.encode()
    return found


def instant(value: Mapping[str, Any], name: str) -> str:
    """A time as `run_info.now` writes it: UTC, ISO 8601 with microseconds."""
    found = datetime.fromisoformat(text(value, name))
    if found.tzinfo is None or not 1970 <= found.year <= 2261:
        raise ValueError(f"{name} must be a time with its zone, from 1970 to 2261, it is {found}")
    return found.astimezone(UTC).isoformat(timespec="microseconds")


def finite_moments(found: object, name: str) -> tuple[int, float, float, float, float]:
    """[n, mean, m2, m3, m4] of values of the size of a float32."""
    if not isinstance(found, list) or len(found) != 5:
        raise ValueError(f"{name} must be a list [n, mean, m2, m3, m4], it is {_short(found)}")
    if _are_sound_moments(*found):
        return found[0], found[1], found[2], found[3], found[4]
    n = whole({name: found[0]}, name)
    mean, m2, m3, m4 = (number(x, name, b) for x, b in zip(found[1:], _MOMENT_BOUNDS, strict=True))
    if m2 < 0.0 or m4 < 0.0:
        raise ValueError(f"{name} holds a sum of even powers below 0")
    return n, mean, m2, m3, m4


def _are_sound_moments(n: object, mean: object, m2: object, m3: object, m4: object) -> bool:
    """Whether the usual case holds: each of its own type and inside its bounds. Most of a reader's time."""
    if type(n) is not int or not type(mean) is type(m2) is type(m3) is type(m4) is float:
        return False
    b1, b2, b3, b4 = _MOMENT_BOUNDS
    return 0 <= n <= 2**53 and -b1 <= mean <= b1 and 0 <= m2 <= b2 and -b3 <= m3 <= b3 and 0 <= m4 <= b4


def _short(found: object) -> str:
    return f"{type(found).__name__} {repr(found)[:40]}"
