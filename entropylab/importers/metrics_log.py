"""A step-level log: rows of named values, whatever the file they come from."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

Cell = float | str
"""A value of a row: a number, NaN and infinity included, or a text that is no number."""


@dataclass
class MetricsLog:
    """Rows in the order they were logged; a name that a row lacks was not logged there.

    ``problems``: what is broken in the file, by line where it has lines.
    """

    rows: list[dict[str, Cell]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def names(self) -> list[str]:
        """Every name in the log, in the order of first use."""
        return list(dict.fromkeys(name for row in self.rows for name in row))

    def add(self, values: Mapping[str, Any]) -> None:
        """Append a row; nested objects become names with ``/``, what is missing is left out."""
        row = dict(_cells(values, ""))
        if row:
            self.rows.append(row)


def _cells(values: Mapping[str, Any], prefix: str) -> Iterable[tuple[str, Cell]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _cells(value, f"{prefix}{name}/")
            continue
        found = cell(value)
        if found is not None:
            yield f"{prefix}{name}", found


def cell(value: object) -> Cell | None:
    """A value as a number where it is or reads as one, else as text; None for missing, lists, objects."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, int | float):
        try:
            return float(value)
        except OverflowError:
            return math.inf if value > 0 else -math.inf
    if not isinstance(value, str) or not value.strip():
        return None
    try:
        return float(value)
    except ValueError:
        return value
