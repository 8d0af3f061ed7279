"""Many small files of a run as few large ones: atomic, idempotent, verified before anything is deleted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from ..errors import EntropylabError, RecorderError, RunFormatError
from ..schema import Column, arrow_schema
from .files import Location, delete_files, drop_empty_folders
from .history import Evaluation
from .marker import FileRef, Marker
from .paths import COMPACTED, EVALUATIONS, MARKERS, RESPONSES, TOKENS, step_folder
from .reader import open_run
from .remote import RemotePath
from .row_files import Rows, stream_rows
from .row_places import COLUMNS, Kind
from .run_info import read_json
from .snapshot import ROWS_KEY, Snapshot, SnapshotReader, evaluation_of, read_table
from .writer import parquet_options, replace_file, write_parquet

ROWS_PER_FILE = 4_000_000
"""A merged file ends after the step that reaches this many rows (about 80 MB)."""

MARKER_TABLE: tuple[Column, ...] = (
    Column("step", pa.int32(), "step", "the trainer's own step"),
    Column("rank", pa.int16(), "rank", "process that wrote the step"),
    Column("attempt", pa.int32(), "attempt", "attempt of that rank"),
    Column("marker", pa.string(), "JSON", "the marker, its files those that were merged"),
)

EVALUATION_TABLE: tuple[Column, ...] = (
    Column("step", pa.int32(), "step", "steps trained"),
    Column("split", pa.string(), "-", "split of the problems"),
    Column("metric", pa.string(), "-", "name of the metric"),
    Column("value", pa.float64(), "metric", "its value"),
    Column("n", pa.int64(), "problems", "number of problems"),
    Column("attempt", pa.int32(), "attempt", "attempt of rank 0"),
)


@dataclass(frozen=True)
class Compaction:
    """What `compact_run` did: files of the run before and after, and the steps that were merged."""

    files_before: int
    files_after: int
    steps_merged: int


def compact_run(path: str | os.PathLike[str] | RemotePath) -> Compaction:
    """Merge the files of the whole steps of a run; what superseded or incomplete steps left stays as it is.

    The merged markers are the commit: before them the originals count, after them the merged files. A killed
    compaction loses nothing, and the next one finishes it. Raises `RunFormatError` if a file cannot be read,
    `RecorderError` if the folder cannot be written.
    """
    folder = open_run(path).path
    try:
        return _compact(folder)
    except OSError as error:
        if isinstance(error, EntropylabError):
            raise
        raise RecorderError(
            f"{folder}: could not be compacted: {error}; nothing is lost, what was merged so far counts. "
            "Mend the cause (disk space, permissions) and compact again"
        ) from error


def _compact(folder: Location) -> Compaction:
    before = SnapshotReader(folder).take()
    _check_compacted(before)
    merged, pending = _split(before)
    if pending:
        moved = _merge_rows(folder, pending)
        _commit_markers(folder, [*merged, *moved])
    if before.inventory.files[EVALUATIONS] and (before.evaluations or before.superseded_evaluations):
        _commit_evaluations(folder, [*before.evaluations, *before.superseded_evaluations])
    after = SnapshotReader(folder).take()
    delete_files(folder, _redundant(after))
    drop_empty_folders(folder, _merged_folders(after))
    steps = {marker.step for marker in pending}
    return Compaction(_count(before), _count(SnapshotReader(folder).take()), len(steps))


def _check_compacted(snapshot: Snapshot) -> None:
    """`RunFormatError` if an earlier merged table cannot be read: writing it anew would lose what it held."""
    for problem in snapshot.unreadable:
        if problem.path in snapshot.inventory.compacted[problem.path.split("/")[0]]:
            raise RunFormatError(problem.message)


def _split(snapshot: Snapshot) -> tuple[list[Marker], list[Marker]]:
    """(markers merged earlier, markers of whole steps that still stand alone)."""
    stored = _merged_keys(snapshot.folder)
    merged = [m for m in snapshot.markers if m.key in stored]
    whole = [m for _, markers in sorted(snapshot.history.whole.items()) for m in markers]
    return merged, [m for m in whole if m.key not in stored]


def _merged_keys(folder: Location) -> set[tuple[int, int, int]]:
    path = folder / MARKERS / f"{COMPACTED}.parquet"
    if not path.is_file():
        return set()
    table = read_table(path)
    return set(zip(*(table[name].to_pylist() for name in ("step", "rank", "attempt")), strict=True))


def _merge_rows(folder: Location, markers: Sequence[Marker]) -> list[Marker]:
    """Write and verify the merged token and response files; the markers with their new places."""
    moved = list(markers)
    for kind in COLUMNS:
        for part in _parts(moved, kind):
            name = _part_name(kind, part)
            _write_part(folder, name, part, kind)
            _verify_part(folder, name, part, kind)
            keys = {m.key for m in part}
            moved = [_moved(m, kind, name) if m.key in keys else m for m in moved]
    return moved


def _parts(markers: Sequence[Marker], kind: Kind) -> Iterator[list[Marker]]:
    """Groups of markers, in order, of about `ROWS_PER_FILE` rows."""
    part: list[Marker] = []
    rows = 0
    for marker in markers:
        if _ref(marker, kind) is None:
            continue
        if rows >= ROWS_PER_FILE and marker.step != part[-1].step:
            yield part
            part, rows = [], 0
        part.append(marker)
        rows += _rows(marker, kind).ref.rows
    if part:
        yield part


def _part_name(kind: Kind, part: Sequence[Marker]) -> str:
    attempt = max(m.attempt for m in part)
    return f"{kind}/{COMPACTED}/steps-{part[0].step:06d}-{part[-1].step:06d}-a{attempt}.parquet"


def _ref(marker: Marker, kind: Kind) -> FileRef | None:
    return marker.tokens if kind == TOKENS else marker.responses


def _rows(marker: Marker, kind: Kind) -> Rows:
    ref = _ref(marker, kind)
    if ref is None:
        raise RunFormatError(f"the marker of step {marker.step}, rank {marker.rank} names no {kind} file")
    return Rows(marker.step, marker.rank, ref)


def _moved(marker: Marker, kind: Kind, name: str) -> Marker:
    ref = FileRef(name, _rows(marker, kind).ref.rows)
    return replace(marker, tokens=ref) if kind == TOKENS else replace(marker, responses=ref)


def _write_part(folder: Location, name: str, part: Sequence[Marker], kind: Kind) -> None:
    schema = arrow_schema(COLUMNS[kind])
    options = parquet_options(schema)
    rows = options.pop("row_group_size")

    def write(file: IO[bytes]) -> None:
        with pq.ParquetWriter(file, schema, **options) as writer:
            waiting: list[pa.RecordBatch] = []
            for batch in stream_rows(folder, [_rows(m, kind) for m in part], COLUMNS[kind], None):
                waiting.append(batch)
                if sum(b.num_rows for b in waiting) >= rows:
                    writer.write_table(pa.Table.from_batches(waiting).cast(schema), row_group_size=rows)
                    waiting = []
            if waiting:
                writer.write_table(pa.Table.from_batches(waiting).cast(schema), row_group_size=rows)

    replace_file(folder / name, write)


def _verify_part(folder: Location, name: str, part: Sequence[Marker], kind: Kind) -> None:
    """`RunFormatError` unless the merged file holds the rows of the originals, bit by bit and in order."""
    originals = stream_rows(folder, [_rows(m, kind) for m in part], COLUMNS[kind], None)
    copies = stream_rows(folder, [_rows(_moved(m, kind, name), kind) for m in part], COLUMNS[kind], None)
    if not _same_rows(originals, copies):
        raise RunFormatError(f"{folder / name}: differs from what it was merged from; nothing was deleted")


def _same_rows(left: Iterator[pa.RecordBatch], right: Iterator[pa.RecordBatch]) -> bool:
    """Whether two streams hold the same rows, NaN equal to NaN, wherever their batches end."""
    a, b = _next(left), _next(right)
    while a is not None and b is not None:
        n = min(a.num_rows, b.num_rows)
        if not _bits(a.slice(0, n)).equals(_bits(b.slice(0, n))):
            return False
        a = a.slice(n) if a.num_rows > n else _next(left)
        b = b.slice(n) if b.num_rows > n else _next(right)
    return a is None and b is None


def _next(stream: Iterator[pa.RecordBatch]) -> pa.RecordBatch | None:
    return next(stream, None)


def _bits(batch: pa.RecordBatch) -> pa.RecordBatch:
    """The batch with floats as the integers of the same bits."""
    arrays = [x.view(pa.int32()) if pa.types.is_float32(x.type) else x for x in batch.columns]
    return pa.RecordBatch.from_arrays(arrays, names=batch.schema.names)


def _commit_markers(folder: Location, markers: Sequence[Marker]) -> None:
    ordered = sorted(markers, key=lambda m: m.key)
    texts = [json.dumps(m.to_json(), allow_nan=False, separators=(",", ":")) for m in ordered]
    rows = [(*m.key, text) for m, text in zip(ordered, texts, strict=True)]
    _write_table(folder / MARKERS / f"{COMPACTED}.parquet", MARKER_TABLE, rows)


def _commit_evaluations(folder: Location, evaluations: Sequence[Evaluation]) -> None:
    rows = sorted((e.step, e.split, e.metric, e.value, e.n, e.attempt) for e in evaluations)
    _write_table(folder / EVALUATIONS / f"{COMPACTED}.parquet", EVALUATION_TABLE, rows)


def _write_table(path: Location, columns: tuple[Column, ...], rows: Sequence[tuple[object, ...]]) -> None:
    """Write a table and read it back; `RunFormatError` if it differs."""
    schema = arrow_schema(columns)
    schema = schema.with_metadata({**schema.metadata, ROWS_KEY: str(len(rows)).encode()})
    values = [list(x) for x in zip(*rows, strict=True)]
    arrays = [pa.array(x, field.type) for x, field in zip(values, schema, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=schema)
    write_parquet(path, table)
    if not read_table(path).equals(table):
        raise RunFormatError(f"{path}: differs from what was written; nothing was deleted")


def _redundant(snapshot: Snapshot) -> list[str]:
    """Originals that merged files replace, and merged files that no marker names."""
    keys = _merged_keys(snapshot.folder)
    names = []
    for kind in (TOKENS, RESPONSES, MARKERS):
        names += [f.path for f in snapshot.inventory.files[kind] if (f.step, f.rank, f.attempt) in keys]
    named = {ref.path for m in snapshot.markers for ref in (m.tokens, m.responses) if ref}
    for kind in (TOKENS, RESPONSES):
        names += [name for name in snapshot.inventory.compacted[kind] if name not in named]
    return names + _merged_evaluations(snapshot)


def _merged_evaluations(snapshot: Snapshot) -> list[str]:
    """Files of evaluations that the merged table holds with the same value."""
    path = snapshot.folder / EVALUATIONS / f"{COMPACTED}.parquet"
    if not path.is_file():
        return []
    merged = {evaluation_of(row, str(path)) for row in read_table(path).to_pylist()}
    unreadable = {problem.path for problem in snapshot.unreadable}
    names = [f.path for f in snapshot.inventory.files[EVALUATIONS] if f.path not in unreadable]
    return [n for n in names if evaluation_of(read_json(snapshot.folder / n), n) in merged]


def _merged_folders(snapshot: Snapshot) -> set[str]:
    """The step folders whose files are merged; a compaction that was killed may have left them empty."""
    steps = {step for step, _, _ in _merged_keys(snapshot.folder)}
    rows = {step_folder(kind, step) for kind in (TOKENS, RESPONSES, MARKERS) for step in steps}
    evaluations = (*snapshot.evaluations, *snapshot.superseded_evaluations)
    return rows | {step_folder(EVALUATIONS, e.step) for e in evaluations}


def _count(snapshot: Snapshot) -> int:
    plain = sum(len(files) for files in snapshot.inventory.files.values())
    return plain + sum(len(names) for names in snapshot.inventory.compacted.values())
