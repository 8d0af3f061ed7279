"""Names of the tables of a run and of the formats of one file; free of heavy packages."""

from __future__ import annotations

from enum import StrEnum


class TableName(StrEnum):
    """A table of a run."""

    TOKENS = "tokens"
    RESPONSES = "responses"
    STEPS = "steps"
    EVALUATIONS = "evaluations"


class FileFormat(StrEnum):
    """A format of one file, named as its usual ending."""

    CSV = "csv"
    PARQUET = "parquet"
