"""``entropylab sql``: one SELECT over the rows, steps and evaluations of runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from entropylab.plots.labels import run_labels

from .output import print_json, say, show_table
from .sources import Json, Paths, load_runs

EXAMPLES = (
    'entropylab sql runs "select run, count(*) from tokens group by run"',
    'entropylab sql runs/demo "select * from steps" -o steps.csv',
)
SHOWN = 50


def command(
    paths: Paths,
    text: Annotated[
        str, typer.Argument(metavar="SELECT", help="Over tokens, responses, steps, evaluations; column run.")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write .csv or .parquet instead.")
    ] = None,
    json: Json = False,
) -> None:
    """Ask runs in SQL, through DuckDB and read only; floats are fp32, so cast them before sums."""
    from entropylab.record.sql import query
    from entropylab.record.tables import file_format, write_batches

    runs = load_runs(paths)
    labels = run_labels(runs)
    table = query([(labels[str(run.path)], run) for run in runs], text)
    if output is not None:
        written = write_batches(table.schema, table.to_batches(), output, file_format(output))
        say(f"{written:,} rows: {output}")
    elif json:
        print_json("sql", table.to_pylist())
    else:
        rows = [
            [_cell(row[name]) for name in table.column_names] for row in table.slice(0, SHOWN).to_pylist()
        ]
        show_table(f"{table.num_rows:,} rows", table.column_names, rows, text=0)
        if table.num_rows > SHOWN:
            say(f"The first {SHOWN}; -o FILE writes all.")


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
