"""trackio's SQLite database: one row a call of log, its metrics as JSON; several runs in one file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from ..errors import InvalidInputError
from .faults import RecordError
from .json_records import parse_object
from .metrics_log import MetricsLog

_QUERY = "SELECT id, run_name, step, metrics FROM metrics ORDER BY id"


def read_database(path: Path) -> dict[str, MetricsLog]:
    """The log of each run by its name. Opened read-only, so that a run under way is not disturbed."""
    logs: dict[str, MetricsLog] = {}
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)) as database:
            for number, run, step, metrics in database.execute(_QUERY):
                log = logs.setdefault(str(run), MetricsLog())
                try:
                    values = parse_object(metrics if isinstance(metrics, bytes) else str(metrics).encode())
                except RecordError as error:
                    log.problems.append(f"{path}, row {number} of metrics: {error}, left out")
                    continue
                log.add({**values, "step": step})
    except sqlite3.Error as error:
        raise InvalidInputError(f"{path} does not read as a database of trackio: {error}") from error
    return logs
