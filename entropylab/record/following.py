"""Rows read beside a compaction or prune: where a file was just merged, reading goes on in the merged one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

import pyarrow as pa

from ..errors import FileChangedError, RunFormatError
from ..schema import Column
from .files import Location
from .marker import FileRef
from .row_files import Rows, stream_rows

Places = Mapping[tuple[int, int], FileRef]
"""The file of each (step, rank)."""


def follow_rows(
    folder: Location,
    wanted: Sequence[Rows],
    columns: Sequence[Column],
    names: Sequence[str] | None,
    places: Callable[[], Places],
) -> Iterator[pa.RecordBatch]:
    """`stream_rows`, but a file that is gone is looked for once more, where ``places`` now says it is."""
    stream_rows(folder, (), columns, names)  # a wrong column is an error now, not at the first row
    return _follow(folder, wanted, columns, names, places)


def _follow(
    folder: Location,
    wanted: Sequence[Rows],
    columns: Sequence[Column],
    names: Sequence[str] | None,
    places: Callable[[], Places],
) -> Iterator[pa.RecordBatch]:
    for _, group in groupby(wanted, lambda rows: rows.ref.path):
        rows = list(group)
        batches = stream_rows(folder, rows, columns, names)
        try:
            first = next(batches, None)
        except RunFormatError as error:
            moved = _moved(rows, places()) if isinstance(error.__cause__, FileNotFoundError) else None
            if moved is None:
                raise
            batches = stream_rows(folder, moved, columns, names)
            first = next(batches, None)
        if first is not None:
            yield first
        yield from batches


def _moved(rows: Sequence[Rows], places: Places) -> list[Rows] | None:
    """The same rows in other files, None where one of them is not elsewhere.

    Raises `FileChangedError` where rows are stored no more.
    """
    gone = [r for r in rows if (r.step, r.rank) not in places]
    if gone:
        raise FileChangedError(
            f"{gone[0].ref.path}: pruned or superseded while step {gone[0].step} was read; read the run again"
        )
    found = [Rows(r.step, r.rank, places.get((r.step, r.rank), r.ref)) for r in rows]
    elsewhere = all(new.ref.path != old.ref.path for new, old in zip(found, rows, strict=True))
    return found if elsewhere else None
