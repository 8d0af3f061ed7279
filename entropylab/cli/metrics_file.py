"""Step-level metrics from a CSV or JSON-lines file, for fits without any run folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entropylab.errors import (
    InsufficientDataError,
    InvalidInputError,
    MissingInputError,
    RunNotFoundError,
    UnknownNameError,
)

if TYPE_CHECKING:
    import pandas as pd

ENDINGS = (".csv", ".tsv", ".jsonl", ".ndjson")
STEP_NAMES = ("step", "global_step", "_step", "train/global_step", "training/global_step", "iteration")
"""Columns taken as the step where none is named."""


def is_metrics_file(path: str) -> bool:
    """Whether the path is a metrics file rather than a run folder."""
    return Path(path).suffix.lower() in ENDINGS and not Path(path).is_dir()


def read_points(
    path: str, entropy: str | None, performance: str | None, step: str | None = None
) -> pd.DataFrame:
    """Frame (step, entropy, performance) of the steps that hold both; rows of one step are joined.

    Trainers often log the two on different lines: the last value of each column in a step counts.
    """
    if not entropy or not performance:
        raise MissingInputError(
            f"{path} is a metrics file: name its columns with --entropy COL --performance COL"
        )
    if not Path(path).is_file():
        raise RunNotFoundError(f"No file at {path}")
    frame = _read(Path(path))
    for name in filter(None, (entropy, performance, step)):
        if name not in frame.columns:
            raise UnknownNameError(
                f"No column {name!r} in {path}; it has: {', '.join(map(str, frame.columns))}"
            )
    step = step or next((name for name in STEP_NAMES if name in frame.columns), None)
    points = _columns(frame, {"step": step, "entropy": entropy, "performance": performance}, path)
    if points.empty:
        raise InsufficientDataError(f"No step in {path} holds both {entropy!r} and {performance!r}")
    return points


def _columns(frame: pd.DataFrame, wanted: dict[str, str | None], path: str) -> pd.DataFrame:
    import pandas as pd

    points = pd.DataFrame({new: _numbers(frame, old, path) for new, old in wanted.items() if old})
    if "step" in points:
        points = points.dropna(subset="step").groupby("step", as_index=False).last()
    return points.dropna().reset_index(drop=True)


def _numbers(frame: pd.DataFrame, column: str, path: str) -> Any:
    import pandas as pd

    try:
        return pd.to_numeric(frame[column]).astype("float64")
    except (ValueError, TypeError) as error:
        raise InvalidInputError(
            f"Column {column!r} of {path} holds something that is no number: {error}"
        ) from error


def _read(path: Path) -> pd.DataFrame:
    import pandas as pd

    try:
        if path.suffix.lower() in (".jsonl", ".ndjson"):
            lines = path.read_text(encoding="utf-8").splitlines()
            return pd.DataFrame(
                [_object(line, number, path) for number, line in enumerate(lines, 1) if line.strip()]
            )
        return pd.read_csv(path, sep="\t" if path.suffix.lower() == ".tsv" else ",")
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise InvalidInputError(f"{path} does not read as {path.suffix[1:].upper()}: {error}") from error


def _object(line: str, number: int, path: Path) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise InvalidInputError(f"{path}, line {number}: not JSON ({error.msg})") from error
    if not isinstance(value, dict):
        raise InvalidInputError(f"{path}, line {number}: a JSON object is needed, not {type(value).__name__}")
    return value
