"""The rows of one step by the address of its run and its markers: what a worker needs to read them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pyarrow as pa

from ..errors import FileChangedError, StoreError
from .exact_rows import COLUMNS, chunks_of, exact_rows, twice
from .files import Location, Stamp, stamp_of
from .following import Places, follow_rows
from .marker import Marker
from .merging import ExactRows
from .paths import location
from .recompute import RankRows, recompute
from .remote import RemotePath
from .row_files import Rows
from .row_places import COLUMNS as ROW_COLUMNS, Kind
from .snapshot import SnapshotReader, markers_of


def address_of(folder: Location) -> str:
    """What `paths.location` turns into the folder again, in any process."""
    return folder.url if isinstance(folder, RemotePath) else str(folder.absolute())


KERNEL_VERSION = 2
"""Changes where the same rows would give other numbers."""


@dataclass(frozen=True)
class StepSource:
    """One whole step of the run at ``address``, by the markers of its ranks.

    ``identity``: JSON that changes with the row files (name, rows, size, time of change) and the kernel.
    """

    address: str
    markers: tuple[Marker, ...]
    identity: list[Any]

    @classmethod
    def of(cls, folder: Location, markers: tuple[Marker, ...], stamps: Mapping[str, Stamp]) -> StepSource:
        """``stamps``: those that a listing of the folder told; others are asked for."""
        found: list[Any] = [KERNEL_VERSION, [[m.rank, m.attempt] for m in markers]]
        for ref in (ref for m in markers for ref in (m.tokens, m.responses) if ref is not None):
            size, changed = stamps.get(ref.path) or _stamp(folder / ref.path) or (None, None)
            found.append([ref.path, ref.rows, size, changed])
        return cls(address_of(folder), markers, found)

    def __str__(self) -> str:
        return f"step {self.markers[0].step} of {location(self.address)}"

    @property
    def step(self) -> int:
        """The step."""
        return self.markers[0].step

    @property
    def n_tokens(self) -> int:
        """Tokens of the step, stored or not."""
        return sum(m.n_tokens for m in self.markers)

    @property
    def stored(self) -> bool:
        """Whether every token is a row."""
        return all(m.all_tokens_stored for m in self.markers)

    def exact(self) -> ExactRows:
        """Top means and quadrants from the token rows; the moments are the markers'."""
        with self._unchanged("tokens"):
            chunks = twice(lambda: chunks_of(self.rows("tokens", COLUMNS)), self.n_tokens)
            return exact_rows(chunks)

    def recompute(self) -> tuple[tuple[Marker, ...], ExactRows]:
        """The markers as the rows give them, and what does not merge over ranks."""
        ranks = [
            RankRows(m, partial(self._rows, "tokens", [m]), partial(self._rows, "responses", [m]))
            for m in self.markers
        ]
        with self._unchanged("tokens", "responses"):
            return recompute(ranks)

    def rows(self, kind: Kind, names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """The stored rows of the step, by rank."""
        return self._rows(kind, self.markers, names)

    def _rows(self, kind: Kind, markers: Sequence[Marker], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        folder = location(self.address)
        rows = [Rows(m.step, m.rank, ref) for m in markers if (ref := getattr(m, kind)) is not None]
        return follow_rows(folder, rows, ROW_COLUMNS[kind], names, partial(places, folder, kind))

    @contextmanager
    def _unchanged(self, *kinds: Kind) -> Iterator[None]:
        """Raises `FileChangedError` if a file of these rows was replaced or moved meanwhile."""
        before = self._stamps(kinds)
        yield
        if self._stamps(kinds) != before:
            raise FileChangedError(f"{self}: its files were replaced while they were read; read it again")

    def _stamps(self, kinds: Sequence[Kind]) -> list[Stamp | None]:
        folder = location(self.address)
        refs = [getattr(m, kind) for m in self.markers for kind in kinds]
        return [_stamp(folder / ref.path) for ref in refs if ref is not None]


def _stamp(path: Location) -> Stamp | None:
    try:
        return stamp_of(path)
    except StoreError:
        raise
    except OSError:
        return None  # reading says what is wrong with it


def places(folder: Location, kind: Kind) -> Places:
    """Where the rows of each (step, rank) lie now."""
    markers = markers_of(SnapshotReader(folder).take(), None)
    return {(m.step, m.rank): ref for m in markers if (ref := getattr(m, kind)) is not None}
