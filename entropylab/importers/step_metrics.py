"""A step-level log beside a dump: its values become ``metrics/...`` of the steps, its scores evaluations."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import InvalidInputError, MissingInputError
from .law_rows import STEP_GROUPS
from .metric_names import choose_performance
from .metrics_files import read_metrics
from .metrics_log import MetricsLog
from .steps import ImportedEvaluation

_STEPS = {name for group in STEP_GROUPS for name in group}
_METRIC_LENGTH = 60


@dataclass(frozen=True)
class StepMetrics:
    """Finite values by step and name, evaluations, and what is broken in the log."""

    values: dict[int, dict[str, float]] = field(default_factory=dict)
    evaluations: tuple[ImportedEvaluation, ...] = ()
    problems: tuple[str, ...] = ()


def step_metrics(
    path: str | Path,
    *,
    performance: str | None = None,
    n_problems: int | None = None,
    step: str | None = None,
) -> StepMetrics:
    """Read a step-level log of one run. performance: the column of the evaluations (default: known names).

    ``n_problems`` behind each evaluation is needed where there are evaluations. Of several values at one step
    the last counts. Raises `MissingInputError` without it, `InvalidInputError` for a log of several runs.
    """
    logs = read_metrics(path)
    if len(logs) != 1:
        raise InvalidInputError(
            f"{path} holds the logs of {len(logs)} runs ({', '.join(logs)}); one is needed"
        )
    (log,) = logs.values()
    values, problems = _by_step(log, step, str(path))
    column = choose_performance(log.names, performance, str(path))
    scores = [(s, row[column]) for s, row in sorted(values.items()) if column in row] if column else []
    if scores and n_problems is None:
        raise MissingInputError(
            f"{path} holds evaluations ({column}): say with --n-problems over how many problems each is"
        )
    name = (column or "")[-_METRIC_LENGTH:]
    found = [ImportedEvaluation(s, name, value, n_problems or 1) for s, value in scores]
    return StepMetrics(values, tuple(found), (*log.problems, *problems))


def _by_step(log: MetricsLog, step: str | None, source: str) -> tuple[dict[int, dict[str, float]], list[str]]:
    values: dict[int, dict[str, float]] = {}
    lost = stepless = 0
    for row in log.rows:
        number = _step_of(row, step)
        if number is None:
            stepless += 1
            continue
        for name, value in row.items():
            if name in _STEPS or name == step or isinstance(value, str):
                continue
            if math.isfinite(value):
                values.setdefault(number, {})[name] = value
            else:
                lost += 1
    problems = [f"{source}: {lost} values are NaN or infinite, and left out"] if lost else []
    if not values:
        raise InvalidInputError(f"{source}: none of its {len(log.rows)} rows has a whole number as step")
    return values, problems + (
        [f"{source}: {stepless} rows have no step, and are left out"] if stepless else []
    )


def _step_of(row: dict[str, float | str], step: str | None) -> int | None:
    names = [step] if step else [name for group in STEP_GROUPS for name in group]
    value = next((row[name] for name in names if name in row), None)
    if not isinstance(value, float) or not value.is_integer() or not 0 <= value < 2**31:
        return None
    return int(value)
