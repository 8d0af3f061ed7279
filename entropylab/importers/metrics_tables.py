"""Step-level logs as tables: CSV, JSON lines, JSON (TRL's trainer_state.json) and Parquet."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidInputError
from .faults import RecordError
from .json_records import numbered_lines, parse_object
from .metrics_log import MetricsLog

VERL_ENVELOPE = {"step", "data"}
"""Keys of a line of verl's file logger, which writes NaN as null."""


def read_csv(path: Path) -> MetricsLog:
    """A CSV or TSV file with one line of names; a line of another width is a problem."""
    log = MetricsLog()
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            lines = csv.reader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            names = next(lines, None)
            if not names:
                raise InvalidInputError(f"{path} does not read as CSV: it is empty")
            for values in lines:
                if len(values) == len(names):
                    log.add(dict(zip(names, values, strict=True)))
                elif values:
                    wide = f"{len(values)} values for {len(names)} columns"
                    log.problems.append(f"{path}, line {lines.line_num}: {wide}, left out")
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInputError(f"{path} does not read as CSV: {error}") from error
    return log


def read_json_lines(path: Path) -> MetricsLog:
    """One object a line, also in the envelopes of verl {step, data} and of miles {step, metrics, ...}."""
    log = MetricsLog()
    with open(path, "rb") as file:
        for number, _, line in numbered_lines(file):
            try:
                log.add(_opened(parse_object(line)))
            except RecordError as error:
                log.problems.append(f"{path}, line {number}: {error}, left out")
    return log


def _opened(row: dict[str, Any]) -> dict[str, Any]:
    """The row without an envelope."""
    if set(row) == VERL_ENVELOPE and isinstance(row["data"], Mapping):
        data = {name: float("nan") if value is None else value for name, value in row["data"].items()}
        return {**data, "step": row["step"]}
    if isinstance(row.get("metrics"), Mapping):
        return {**{k: v for k, v in row.items() if k != "metrics"}, **row["metrics"]}
    return row


def read_json(path: Path) -> MetricsLog:
    """A list of objects, or an object with such a list under log_history (trainer_state.json)."""
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        if _first_line_is_object(path):
            return read_json_lines(path)
        raise InvalidInputError(f"{path} does not read as JSON: {error}") from error
    rows = content.get("log_history", [content]) if isinstance(content, dict) else content
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InvalidInputError(f"{path}: a list of objects, or one under 'log_history', is needed")
    log = MetricsLog()
    for row in rows:
        log.add(_opened(row))
    return log


def _first_line_is_object(path: Path) -> bool:
    with open(path, "rb") as file:
        for _, _, line in numbered_lines(file):
            try:
                parse_object(line)
            except RecordError:
                return False
            return True
    return False


def read_parquet(path: Path) -> MetricsLog:
    """A table with a column a metric, such as a W&B history; null is missing, NaN is a value."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowException) as error:
        raise InvalidInputError(f"{path} does not read as Parquet: {error}") from error
    log = MetricsLog()
    for batch in table.to_batches():
        for row in batch.to_pylist():
            log.add(row)
    return log
