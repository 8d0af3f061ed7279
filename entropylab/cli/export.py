"""``entropylab export``: one table of a run as one file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entropylab.record.table_names import FileFormat, TableName

from .output import print_json, say
from .sources import Json

EXAMPLES = (
    "entropylab export runs/demo/baseline -o tokens.parquet",
    "entropylab export runs/demo/baseline --table steps -o steps.csv",
)


def command(
    path: Annotated[str, typer.Argument(metavar="RUN", help="A run folder or its URL.")],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="FILE", help="File to write.")],
    table: Annotated[TableName, typer.Option(help="What to write.")] = TableName.TOKENS,
    form: Annotated[FileFormat | None, typer.Option("--format", help="Default: by FILE's ending.")] = None,
    json: Json = False,
) -> None:
    """Write one table of a run as a CSV or Parquet file, row by row, whatever its size."""
    from entropylab.record.reader import open_run
    from entropylab.record.tables import file_format, table_batches, write_batches

    chosen, run = file_format(output, form), open_run(path)
    rows = write_batches(*table_batches(run, table), output, chosen)
    if json:
        print_json("export", [{"run": run.name, "table": table, "rows": rows, "file": str(output)}])
    else:
        say(f"{rows:,} rows of {table}: {output}")
