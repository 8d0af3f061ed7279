"""The tables that stand for many small markers or evaluations; that of the markers is the commit."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pyarrow as pa

from ..errors import FileChangedError, RunFormatError
from ..schema import Column, arrow_schema
from .files import Location, Stamp, stamp_of
from .history import Evaluation
from .marker import Marker
from .paths import COMPACTED, EVALUATIONS, MARKERS
from .snapshot import ROWS_KEY, Snapshot, read_table
from .writer import write_parquet

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


def check_readable(snapshot: Snapshot) -> None:
    """`RunFormatError` if an earlier merged table cannot be read: writing it anew would lose what it held."""
    for problem in snapshot.unreadable:
        if problem.path in snapshot.inventory.compacted.get(problem.path.split("/")[0], ()):
            raise RunFormatError(problem.message)


def table_stamp(folder: Location) -> Stamp | None:
    """What tells the table of markers of now from a later one."""
    return stamp_of(folder / _MARKERS)


def merged_keys(folder: Location) -> set[tuple[int, int, int]]:
    """(step, rank, attempt) of the markers in the table."""
    path = folder / _MARKERS
    if not path.is_file():
        return set()
    table = read_table(path)
    return set(zip(*(table[name].to_pylist() for name in ("step", "rank", "attempt")), strict=True))


def commit_markers(folder: Location, markers: Sequence[Marker], before: Stamp | None) -> None:
    """Write the table of markers; `FileChangedError` if it is no longer that with the stamp ``before``."""
    if table_stamp(folder) != before:
        raise FileChangedError(
            f"{folder / _MARKERS}: another compaction or prune has written it meanwhile; "
            "nothing was deleted, try again"
        )
    ordered = sorted(markers, key=lambda m: m.key)
    texts = [json.dumps(m.to_json(), allow_nan=False, separators=(",", ":")) for m in ordered]
    rows = [(*m.key, text) for m, text in zip(ordered, texts, strict=True)]
    _write_table(folder / _MARKERS, MARKER_TABLE, rows)


def commit_evaluations(folder: Location, evaluations: Sequence[Evaluation]) -> None:
    """Write the table of evaluations."""
    rows = sorted((e.step, e.split, e.metric, e.value, e.n, e.attempt) for e in evaluations)
    _write_table(folder / EVALUATIONS / f"{COMPACTED}.parquet", EVALUATION_TABLE, rows)


_MARKERS = f"{MARKERS}/{COMPACTED}.parquet"


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
