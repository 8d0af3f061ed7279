"""SQL over run folders through DuckDB: read only, over the rows that count."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.dataset as ds

from ..errors import InvalidInputError, require_extra
from ..schema import arrow_schema
from .remote import RemotePath
from .row_places import COLUMNS, Kind, RowFile

if TYPE_CHECKING:
    from .reader import Run

ROWS: tuple[Kind, ...] = ("tokens", "responses")
FRAMES = ("steps", "evaluations")


def query(runs: Sequence[tuple[str, Run]], text: str) -> pa.Table:
    """The rows of one SELECT over the views ``tokens``, ``responses``, ``steps`` and ``evaluations``.

    ``runs``: with the names that the column ``run`` of every view holds. Floats are as stored (fp32); cast
    to DOUBLE before sums and variances. Raises `InvalidInputError` for text that is no single SELECT, or that
    DuckDB refuses; `MissingExtraError` without DuckDB.
    """
    try:
        import duckdb
    except ImportError as error:
        raise require_extra("duckdb", "sql", "SQL") from error
    try:
        with duckdb.connect() as connection:
            _check(connection, text)
            allowed = [path for view in _views(connection, runs) for path in view]
            _lock(connection, allowed)
            return connection.sql(text).to_arrow_table()
    except duckdb.Error as error:
        raise InvalidInputError(f"sql: {' '.join(str(error).split())}") from error


def _check(connection: Any, text: str) -> None:
    statements = connection.extract_statements(text)
    kinds = [statement.type.name for statement in statements]
    if text.lstrip().lower().startswith("pragma"):
        kinds = ["PRAGMA"]  # DuckDB below 2.0 reads some as a SELECT
    if kinds != ["SELECT"]:
        raise InvalidInputError(
            f"sql takes one SELECT, got {', '.join(kinds) or 'nothing'}: runs are read only"
        )


def _lock(connection: Any, allowed: Sequence[str]) -> None:
    """Nothing but the files of the views can be opened from now on."""
    connection.execute("SET allowed_paths = ?", [list(allowed)])
    for setting in ("enable_external_access = false", "lock_configuration = true"):
        connection.execute(f"SET {setting}")


def _views(connection: Any, runs: Sequence[tuple[str, Run]]) -> Iterable[list[str]]:
    """Make the views; yields the local files of each."""
    for kind in ROWS:
        names = [f"_{kind}_{number}" for number in range(len(runs))]
        files = [run.row_files(kind) for _, run in runs]
        yield from (_rows_view(connection, name, own, kind) for name, own in zip(names, files, strict=True))
        _join(connection, kind, names, runs)
    for frame in FRAMES:
        names = [f"_{frame}_{number}" for number in range(len(runs))]
        for name, (_, run) in zip(names, runs, strict=True):
            connection.register(name, getattr(run, frame)())
        _join(connection, frame, names, runs)


def _join(connection: Any, view: str, names: Sequence[str], runs: Sequence[tuple[str, Run]]) -> None:
    """One view of the same table of every run, with the run's name."""
    parts = [
        f"SELECT {_quoted(label)} AS run, * FROM {name}" for name, (label, _) in zip(names, runs, strict=True)
    ]
    connection.execute(f"CREATE VIEW {view} AS {' UNION ALL BY NAME '.join(parts)}")


def _rows_view(connection: Any, name: str, files: Sequence[RowFile], kind: Kind) -> list[str]:
    """A view of the rows of files that count; its local files."""
    whole = [file for file in files if file.keys is None]
    parts = [_source(connection, f"{name}_whole", whole)] if whole else []
    for number, file in enumerate(file for file in files if file.keys is not None):
        keys = ", ".join(f"({step}, {rank})" for step, rank in file.keys or ())
        parts.append(f"{_source(connection, f'{name}_part_{number}', [file])} WHERE (step, rank) IN ({keys})")
    if not parts:
        connection.register(f"{name}_none", arrow_schema(COLUMNS[kind]).empty_table())
        parts.append(f"SELECT * FROM {name}_none")
    connection.execute(f"CREATE VIEW {name} AS {' UNION ALL BY NAME '.join(parts)}")
    return [str(file.path) for file in files if not isinstance(file.path, RemotePath)]


def _source(connection: Any, name: str, files: Sequence[RowFile]) -> str:
    """A SELECT of all rows of files: DuckDB reads local ones itself, others come as Arrow."""
    stores = [file.path.store for file in files if isinstance(file.path, RemotePath)]
    if not stores:
        return f"SELECT * FROM read_parquet([{', '.join(_quoted(str(file.path)) for file in files)}])"
    paths = [path for _, path in stores]
    connection.register(name, ds.dataset(paths, format="parquet", filesystem=stores[0][0]))
    return f"SELECT * FROM {name}"


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
