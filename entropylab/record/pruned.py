"""What a marker tells of rows that were deleted on purpose, and what only they could tell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .fields import instant, mapping, numbers, whole
from .summary import Row

EXACT_COLUMNS = ("top_mean_", "count_", "mass_", "selected_count_", "selected_mass_")
"""How the columns that do not merge over ranks begin; no other may be given as one."""

WHOLE_STEP = "step"
"""Key of the whole step among the updates of exact rows."""


@dataclass(frozen=True)
class Pruned:
    """Rows of one rank's step that were stored and deleted: when last, and how many of each kind."""

    at: str
    tokens: int
    responses: int

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Pruned:
        """The note of a JSON object; ValueError, KeyError or TypeError where a field is wrong."""
        return cls(instant(value, "at"), whole(value, "tokens"), whole(value, "responses"))


@dataclass(frozen=True)
class ExactOfRanks:
    """Top means and quadrants over all ranks of a step, kept in the marker of its lowest rank.

    ``ranks``: (rank, attempt) of every marker they were made of; they hold for no other set of markers.
    ``rows``: by update as text, under `WHOLE_STEP` the top means of the whole step.
    """

    ranks: tuple[tuple[int, int], ...]
    rows: Mapping[str, Row]

    def to_json(self) -> dict[str, Any]:
        """The values as strict JSON."""
        return {
            "ranks": [list(pair) for pair in self.ranks],
            "rows": {k: dict(r) for k, r in self.rows.items()},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> ExactOfRanks:
        """The values of a JSON object; ValueError, KeyError or TypeError where a field is wrong."""
        rows = mapping(value, "rows")
        wrong = [key for key in rows if key != WHOLE_STEP and not (key.isascii() and key.isdigit())]
        if wrong:
            raise ValueError(f"rows must be by update or {WHOLE_STEP!r}, there is {wrong[0][:40]!r}")
        ranks = tuple(_pair(pair) for pair in value["ranks"])
        return cls(ranks, {key: exact_columns(numbers(rows, key)) for key in rows})


def exact_columns(row: Row) -> Row:
    """The columns of a row that do not merge over ranks."""
    return {name: x for name, x in row.items() if name.startswith(EXACT_COLUMNS)}


def _pair(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise ValueError(f"ranks must list [rank, attempt], there is {repr(value)[:40]}")
    found = {"rank": value[0], "attempt": value[1]}
    return whole(found, "rank"), whole(found, "attempt", 1)
