"""Rows of several steps in one file: written, and compared bit by bit with where they came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import RunFormatError
from ..schema import arrow_schema
from .files import Location
from .marker import FileRef, Marker
from .paths import COMPACTED, TOKENS
from .row_files import Rows, is_shared, stream_rows
from .row_places import COLUMNS, Kind
from .snapshot import Snapshot
from .writer import parquet_options, replace_file


def ref_of(marker: Marker, kind: Kind) -> FileRef | None:
    """The file of a marker's rows of a kind."""
    return marker.tokens if kind == TOKENS else marker.responses


def rows_of(marker: Marker, kind: Kind) -> Rows:
    """The rows of a marker; `RunFormatError` where it names no file."""
    ref = ref_of(marker, kind)
    if ref is None:
        raise RunFormatError(f"the marker of step {marker.step}, rank {marker.rank} names no {kind} file")
    return Rows(marker.step, marker.rank, ref)


def part_name(kind: Kind, part: Sequence[Marker], suffix: str = "") -> str:
    """Path inside the run of the merged file of markers in order."""
    attempt = max(m.attempt for m in part)
    return f"{kind}/{COMPACTED}/steps-{part[0].step:06d}-{part[-1].step:06d}-a{attempt}{suffix}.parquet"


def moved(marker: Marker, kind: Kind, name: str) -> Marker:
    """The marker with its rows in another file."""
    ref = FileRef(name, rows_of(marker, kind).ref.rows)
    return replace(marker, tokens=ref) if kind == TOKENS else replace(marker, responses=ref)


def write_part(folder: Location, name: str, part: Sequence[Marker], kind: Kind) -> None:
    """Write the rows of markers into one file, in order."""
    schema = arrow_schema(COLUMNS[kind])
    options = parquet_options(schema)
    rows = options.pop("row_group_size")

    def write(file: IO[bytes]) -> None:
        with pq.ParquetWriter(file, schema, **options) as writer:
            waiting: list[pa.RecordBatch] = []
            for batch in stream_rows(folder, [rows_of(m, kind) for m in part], COLUMNS[kind], None):
                waiting.append(batch)
                if sum(b.num_rows for b in waiting) >= rows:
                    writer.write_table(pa.Table.from_batches(waiting).cast(schema), row_group_size=rows)
                    waiting = []
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting).cast(schema), row_group_size=rows)

    replace_file(folder / name, write)


def verify_part(folder: Location, name: str, part: Sequence[Marker], kind: Kind) -> None:
    """`RunFormatError` unless the merged file holds the rows of the originals, bit by bit and in order."""
    originals = stream_rows(folder, [rows_of(m, kind) for m in part], COLUMNS[kind], None)
    copies = stream_rows(folder, [rows_of(moved(m, kind, name), kind) for m in part], COLUMNS[kind], None)
    if not _same_rows(originals, copies):
        raise RunFormatError(f"{folder / name}: differs from what it was merged from; nothing was deleted")


def rewrite_shared(
    snapshot: Snapshot, table: Sequence[Marker], kind: Kind
) -> dict[tuple[int, int, int], Marker]:
    """Write and verify merged files without the pruned rows; the markers of those that stay, by key."""
    old, new = _by_shared_file(snapshot.markers, kind), _by_shared_file(table, kind)
    names = _free_names(snapshot, kind)
    found: dict[tuple[int, int, int], Marker] = {}
    for path, part in new.items():
        if len(part) == len(old[path]):
            continue
        name = part_name(kind, part, next(names))
        write_part(snapshot.folder, name, part, kind)
        verify_part(snapshot.folder, name, part, kind)
        found |= {m.key: moved(m, kind, name) for m in part}
    return found


def _by_shared_file(markers: Sequence[Marker], kind: Kind) -> Mapping[str, list[Marker]]:
    """The markers of each merged file, in the order of its rows."""
    found: dict[str, list[Marker]] = {}
    for marker in sorted(markers, key=lambda m: m.key):
        ref = ref_of(marker, kind)
        if ref is not None and is_shared(ref):
            found.setdefault(ref.path, []).append(marker)
    return found


def _free_names(snapshot: Snapshot, kind: Kind) -> Iterator[str]:
    """Ends of file names that no merged file of the run has."""
    taken = [name.removesuffix(".parquet").rpartition("-p")[2] for name in snapshot.inventory.compacted[kind]]
    number = max([0, *(int(end) for end in taken if end.isdigit())])
    while True:
        number += 1
        yield f"-p{number}"


def _same_rows(left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]) -> bool:
    """Whether two streams hold the same rows, NaN equal to NaN, wherever their batches end."""
    a, b = _next(left), _next(right)
    while a is not None and b is not None:
        n = min(a.num_rows, b.num_rows)
        if not bits(a.slice(0, n)).equals(bits(b.slice(0, n))):
            return False
        a = a.slice(n) if a.num_rows > n else _next(left)
        b = b.slice(n) if b.num_rows > n else _next(right)
    return a is None and b is None


def _next(stream: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    return next(stream, None)


def bits(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with floats as the integers of the same bits."""
    arrays = [x.view(pa.int32()) if pa.types.is_float32(x.type) else x for x in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)
