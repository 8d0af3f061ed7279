"""Which Parquet files hold the rows of a run that count, for engines that read them as they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from ..errors import RunFormatError
from ..schema import RESPONSE_COLUMNS, TOKEN_COLUMNS, Column
from .files import Location
from .marker import Marker
from .row_files import open_parquet

Kind = Literal["tokens", "responses"]
COLUMNS: dict[Kind, tuple[Column, ...]] = {"tokens": TOKEN_COLUMNS, "responses": RESPONSE_COLUMNS}
"""Columns of each kind of rows."""


@dataclass(frozen=True)
class RowFile:
    """One file of token or response rows."""

    path: Location
    rows: int
    """Rows that count."""
    keys: tuple[tuple[int, int], ...] | None
    """The (step, rank) whose rows count, where the file holds others too; None: all its rows count."""


def row_files(folder: Location, markers: Iterable[Marker], kind: Kind) -> list[RowFile]:
    """The files that hold the rows of markers, each once, in their order.

    Raises `RunFormatError` naming a file that is missing, damaged, foreign, or has fewer rows than promised.
    """
    held: dict[str, list[Marker]] = {}
    for marker in markers:
        ref = getattr(marker, kind)
        if ref is not None:
            held.setdefault(ref.path, []).append(marker)
    return [_row_file(folder / name, own, kind) for name, own in held.items()]


def _row_file(path: Location, markers: Sequence[Marker], kind: Kind) -> RowFile:
    expected = sum(getattr(marker, kind).rows for marker in markers)
    with open_parquet(path, COLUMNS[kind]) as file:
        found = file.metadata.num_rows
    if found < expected:
        raise RunFormatError(f"{path}: holds {found} rows, its markers say {expected}")
    keys = None if found == expected else tuple((marker.step, marker.rank) for marker in markers)
    return RowFile(path, expected, keys)
