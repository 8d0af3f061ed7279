"""The tables of a run as a stream of record batches, and as one file."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa
import pyarrow.csv as csv
import pyarrow.parquet as pq

from ..errors import UnknownNameError
from ..schema import RESPONSE_COLUMNS, TOKEN_COLUMNS, arrow_schema
from .table_names import FileFormat, TableName
from .writer import PARQUET_OPTIONS, parquet_options, replace_file

if TYPE_CHECKING:
    from .reader import Run


def file_format(path: Path, asked: FileFormat | None = None) -> FileFormat:
    """The format asked for, else that of the path's ending.

    Raises:
        UnknownNameError: none was asked for, and the ending is that of none.
    """
    if asked is not None:
        return asked
    try:
        return FileFormat(path.suffix.removeprefix("."))
    except ValueError:
        endings = " or ".join(f".{one}" for one in FileFormat)
        raise UnknownNameError(f"{path}: give a name that ends in {endings}, or the format") from None


def table_batches(run: Run, name: TableName) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
    """Schema and rows of a table; token and response rows are read as they are asked for."""
    if name is TableName.TOKENS:
        return arrow_schema(TOKEN_COLUMNS), run.tokens()
    if name is TableName.RESPONSES:
        return arrow_schema(RESPONSE_COLUMNS), run.responses()
    frame = run.steps() if name is TableName.STEPS else run.evaluations()
    table = pa.Table.from_pandas(frame, preserve_index=False)
    return table.schema, iter(table.to_batches())


def write_batches(schema: pa.Schema, batches: Iterable[pa.RecordBatch], path: Path, form: FileFormat) -> int:
    """Write record batches as one file that appears whole or not at all; the number of rows."""
    rows = 0

    def write(file: IO[bytes]) -> None:
        nonlocal rows
        with _writer(file, schema, form) as writer:
            for batch in batches:
                writer.write_table(pa.Table.from_batches([batch]).cast(schema))
                rows += batch.num_rows

    replace_file(path, write)
    return rows


def _writer(file: IO[bytes], schema: pa.Schema, form: FileFormat) -> csv.CSVWriter | pq.ParquetWriter:
    if form is FileFormat.CSV:
        return csv.CSVWriter(file, schema)
    options = {name: x for name, x in parquet_options(schema).items() if name != "row_group_size"}
    options["use_dictionary"] = [n for n in PARQUET_OPTIONS["use_dictionary"] if n in schema.names]
    return pq.ParquetWriter(file, schema, **options)
