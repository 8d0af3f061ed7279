"""Token and response rows of Parquet files, checked against what their markers promise."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..errors import EntropylabError, RunFormatError, StoreError, UnknownNameError
from ..schema import FORMAT_KEY, Column
from .files import Location, parquet_source
from .marker import FileRef
from .remote import RemotePath
from .run_info import check_format

BATCH_ROWS = 131_072


@dataclass(frozen=True)
class Rows:
    """The rows of one rank's step inside a file."""

    step: int
    rank: int
    ref: FileRef


def open_parquet(path: Location, columns: Sequence[Column] = ()) -> pq.ParquetFile:
    """Open a Parquet file of the log; `RunFormatError` naming it if missing, damaged, foreign or newer.

    `StoreError` where an object store does not give it.
    """
    try:
        file = pq.ParquetFile(parquet_source(path), page_checksum_verification=True)
    except FileNotFoundError as error:
        raise RunFormatError(f"{path}: missing, although a marker names it") from error
    except PermissionError as error:
        raise RunFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    except StoreError:
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        raise unreadable(path, f"not a whole Parquet file, so truncated or foreign ({error})") from error
    try:
        _check_schema(path, file, columns)
    except RunFormatError:
        file.close()
        raise
    except (OSError, pa.ArrowException, ValueError) as error:
        file.close()
        raise RunFormatError(f"{path}: its footer is damaged ({error})") from error
    return file


def unreadable(path: Location, reason: str) -> EntropylabError:
    """The error for a file that a Parquet reader refused: `RunFormatError`, or `StoreError` naming the URL.

    To the reader a store that fails half way looks like a damaged file: the object is fetched once more, and
    where it turns out to be whole the store is to blame.
    """
    if isinstance(path, RemotePath) and _is_whole(path.read_bytes()):
        return StoreError(f"{path}: the store failed while it was read: {reason}; try again")
    return RunFormatError(f"{path}: {reason}")


def _is_whole(data: bytes) -> bool:
    try:
        with pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True) as file:
            for _ in file.iter_batches(BATCH_ROWS):
                pass
    except (OSError, pa.ArrowException, ValueError):
        return False
    return True


def _check_schema(path: Location, file: pq.ParquetFile, columns: Sequence[Column]) -> None:
    """`RunFormatError` unless the file is of this format and holds the columns with their types."""
    version = (file.metadata.metadata or {}).get(FORMAT_KEY)
    if version is None:
        raise RunFormatError(f"{path}: a Parquet file that entropylab did not write")
    check_format(int(version) if version.isdigit() else version, path)
    schema = file.schema_arrow
    types = dict(zip(schema.names, schema.types, strict=True))
    missing = [c.name for c in columns if c.name not in types]
    if missing:
        raise RunFormatError(f"{path}: the columns {missing} are missing")
    wrong = [f"{c.name} is {types[c.name]}, not {c.type}" for c in columns if types[c.name] != c.type]
    if wrong:
        raise RunFormatError(f"{path}: the type of a column is wrong: {'; '.join(wrong)}")


def check_rows(folder: Location, rows: Rows, columns: Sequence[Column]) -> None:
    """`RunFormatError` where the file's footer is damaged or holds fewer rows than promised; reads no row."""
    path = folder / rows.ref.path
    with open_parquet(path, columns) as file:
        found = file.metadata.num_rows
        whole = not is_shared(rows.ref)
        if found < rows.ref.rows or (whole and found != rows.ref.rows):
            raise RunFormatError(f"{path}: holds {found} rows, its marker says {rows.ref.rows}")
        if whole:
            _check_owner(path, file, rows)


def check_pages(folder: Location, name: str, columns: Sequence[Column]) -> None:
    """`RunFormatError` where a page of a file does not agree with its checksum; reads every row."""
    path = folder / name
    with open_parquet(path, columns) as file:
        try:
            for _ in file.iter_batches(BATCH_ROWS):
                pass
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            raise unreadable(path, f"damaged, its rows cannot be read ({error})") from error


def stream_rows(
    folder: Location, wanted: Sequence[Rows], columns: Sequence[Column], names: Sequence[str] | None
) -> Iterator[pa.RecordBatch]:
    """The wanted rows in the order given, as record batches with the named columns (None: all).

    Raises `UnknownNameError` for a column that does not exist, `RunFormatError` for a file that is not whole.
    """
    known = [c.name for c in columns]
    names = known if names is None else list(names)
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownNameError(f"unknown columns {unknown}; there are {known}")
    return _stream(folder, wanted, columns, names)


def _stream(
    folder: Location, wanted: Sequence[Rows], columns: Sequence[Column], names: list[str]
) -> Iterator[pa.RecordBatch]:
    for path, group in groupby(wanted, lambda rows: rows.ref.path):
        yield from _stream_file(folder / path, list(group), columns, names)


def _stream_file(
    path: Location, wanted: Sequence[Rows], columns: Sequence[Column], names: list[str]
) -> Iterator[pa.RecordBatch]:
    expected = sum(rows.ref.rows for rows in wanted)
    with open_parquet(path, columns) as file:
        found = 0
        whole = file.metadata.num_rows == expected
        if not is_shared(wanted[0].ref):
            _check_owner(path, file, wanted[0])
        for batch in _batches(path, file, wanted, names, whole):
            found += batch.num_rows
            if batch.num_rows:
                yield batch
    if found != expected:
        steps = sorted({rows.step for rows in wanted})
        raise RunFormatError(
            f"{path}: {found} rows of steps {steps[0]} to {steps[-1]}, markers say {expected}"
        )


def _check_owner(path: Location, file: pq.ParquetFile, rows: Rows) -> None:
    """`RunFormatError` where the footer's bounds of step and rank are not those of the marker: a copy."""
    for name, wanted in (("step", rows.step), ("rank", rows.rank)):
        for low, high in _bounds(path, file, name):
            if (low, high) != (wanted, wanted):
                raise RunFormatError(
                    f"{path}: holds rows of {name} {low} to {high}, its marker says {wanted}"
                )


def _bounds(path: Location, file: pq.ParquetFile, name: str) -> list[tuple[int, int]]:
    """(lowest, highest) value of a column in each row group that tells them."""
    index = file.schema_arrow.names.index(name)
    try:
        groups = [file.metadata.row_group(i).column(index).statistics for i in range(file.num_row_groups)]
        return [(s.min, s.max) for s in groups if s is not None and s.has_min_max]
    except (OSError, pa.ArrowException, ValueError) as error:
        raise RunFormatError(f"{path}: its footer is damaged ({error})") from error


def _batches(
    path: Location, file: pq.ParquetFile, wanted: Sequence[Rows], names: list[str], whole: bool
) -> Iterator[pa.RecordBatch]:
    try:
        if whole:
            yield from file.iter_batches(BATCH_ROWS, columns=names)
            return
        keys = {(rows.step, rows.rank) for rows in wanted}
        groups = _row_groups(file, {step for step, _ in keys})
        read = list(dict.fromkeys([*names, "step", "rank"]))
        for batch in file.iter_batches(BATCH_ROWS, row_groups=groups, columns=read):
            yield batch.filter(_inside(batch, keys)).select(names)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise unreadable(path, f"damaged, its rows cannot be read ({error})") from error


def _inside(batch: pa.RecordBatch, keys: set[tuple[int, int]]) -> pa.Array:
    """Which rows belong to the wanted (step, rank) pairs."""
    code = pc.add(pc.multiply(pc.cast(batch["step"], pa.int64()), 2**16), pc.cast(batch["rank"], pa.int64()))
    return pc.is_in(code, pa.array([step * 2**16 + rank for step, rank in sorted(keys)], pa.int64()))


def _row_groups(file: pq.ParquetFile, steps: set[int]) -> list[int]:
    """The row groups whose range of steps holds a wanted one."""
    index = file.schema_arrow.names.index("step")
    found = []
    for i in range(file.num_row_groups):
        statistics = file.metadata.row_group(i).column(index).statistics
        if statistics is None or any(statistics.min <= step <= statistics.max for step in steps):
            found.append(i)
    return found


def is_shared(ref: FileRef) -> bool:
    """Whether several steps share the file."""
    return "/compacted/" in ref.path
