"""From a step-level log to the points of the law: which step a row is of, which entropy an evaluation gets.

The rule: a point is an evaluation. Its H is the entropy logged at the evaluation's step; where none was
logged, the straight line between the entropies logged just before and just after it, if they are no more than
two usual gaps apart. An evaluation outside the logged entropies, or at a step whose entropy is not
finite, is left out and said so. Of several values at one step the last counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ..errors import InsufficientDataError, InvalidInputError, MissingInputError, UnknownNameError
from .metric_names import Chosen, choose_columns
from .metrics_log import MetricsLog

if TYPE_CHECKING:
    import pandas as pd

STEP_GROUPS: tuple[tuple[str, ...], ...] = (
    ("step",),
    ("Step",),
    ("global_step",),
    ("train/global_step", "eval/global_step"),
    ("training/global_step",),
    ("trainer/global_step",),
    ("rollout/step", "eval/step"),
    ("train/step",),
    ("iteration",),
    ("_step",),
)
"""Columns taken as the step where none is named; those of one group count the same steps."""

MAX_GAPS = 2.0
"""Usual gaps between entropies that an evaluation may lie in."""

_SHOWN = 5


@dataclass(frozen=True)
class LawRows:
    """Points of the law: frame of step (where there are steps), entropy (nats), performance; columns used.

    problems: broken lines and values that are not finite. notes: how evaluations got their entropy.
    """

    frame: pd.DataFrame
    columns: Chosen
    step: str | None
    problems: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class _Series:
    """One metric: the last value of each step, by step."""

    name: str
    steps: np.ndarray
    values: np.ndarray

    @property
    def finite(self) -> np.ndarray:
        """Which values are finite, bool."""
        return np.isfinite(self.values)


def law_rows(
    log: MetricsLog, entropy: str | None, performance: str | None, step: str | None, source: str
) -> LawRows:
    """The points of a log; columns that are not named are those of a known trainer.

    Raises `UnknownNameError` for a column that is not there, `MissingInputError` where the columns or a
    common step cannot be told, `InvalidInputError` for texts among the numbers, `InsufficientDataError`
    where no point is left.
    """
    if not log.rows:
        raise InsufficientDataError(_with_problems(f"{source} holds no row of metrics", log.problems))
    columns = choose_columns(log.names, entropy, performance, source)
    group = _step_group(log, columns, step, source)
    find = _by_row if group is None else partial(_by_step, group=group)
    frame, bad, notes = find(log, columns, source)
    if frame.empty:
        reason = f"No step in {source} holds both {columns.entropy!r} and {columns.performance!r}"
        raise InsufficientDataError(_with_problems(reason, [*bad, *notes, *log.problems]))
    label = None if group is None else " or ".join(group)
    return LawRows(frame, columns, label, (*log.problems, *bad), tuple(notes))


_Found = tuple["pd.DataFrame", list[str], list[str]]


def _by_step(log: MetricsLog, columns: Chosen, source: str, *, group: tuple[str, ...]) -> _Found:
    """Points, values that are not finite, and notes, by the rule of this module."""
    h, again_h = _series(log, columns.entropy, group, source)
    r, again_r = _series(log, columns.performance, group, source)
    frame, notes = _paired(h, r)
    bad = [*_not_finite(h.name, h.steps, h.finite), *_not_finite(r.name, r.steps, r.finite)]
    return frame, bad, [*again_h, *again_r, *notes]


def _by_row(log: MetricsLog, columns: Chosen, source: str) -> _Found:
    """The same without steps: the rows that hold both, in their order."""
    import pandas as pd

    names = {"entropy": columns.entropy, "performance": columns.performance}
    both = [row for row in log.rows if all(name in row for name in names.values())]
    data = {role: [_number(row[name], name, source) for row in both] for role, name in names.items()}
    frame = pd.DataFrame(data, dtype="float64")
    finite = np.isfinite(frame.to_numpy())
    numbers = np.arange(1, len(frame) + 1)
    bad = [x for i, name in enumerate(names.values()) for x in _not_finite(name, numbers, finite[:, i])]
    return frame[finite.all(axis=1)].reset_index(drop=True), bad, []


def _with_problems(text: str, problems: list[str]) -> str:
    return "; ".join([text, *problems[:3]])


def _step_group(log: MetricsLog, columns: Chosen, step: str | None, source: str) -> tuple[str, ...] | None:
    """The step columns that all rows of the two metrics have (but rows without any step, such as a summary).

    None where the log has no steps at all.
    """
    rows = [row for row in log.rows if columns.entropy in row or columns.performance in row]
    if step is not None:
        if step not in log.names:
            raise UnknownNameError(f"No column {step!r} in {source}; it has: {', '.join(log.names)}")
        return (step,)
    known = [name for group in STEP_GROUPS for name in group]
    stepped = [row for row in rows if any(name in row for name in known)]
    if not stepped:
        return None
    for group in STEP_GROUPS:
        if all(any(name in row for name in group) for row in stepped):
            return group
    present = [name for name in known if any(name in row for row in stepped)]
    raise MissingInputError(
        f"{source}: {columns.entropy!r} and {columns.performance!r} are logged by different steps "
        f"({', '.join(present)}); name a common one with --step COL"
    )


def _series(log: MetricsLog, name: str, group: tuple[str, ...], source: str) -> tuple[_Series, list[str]]:
    """A metric by step, and a note where a step was logged again with another value."""
    found: dict[float, float] = {}
    again = 0
    for row in log.rows:
        key = next((k for k in group if k in row), None)
        if name not in row or key is None:
            continue
        step, value = _number(row[key], key, source), _number(row[name], name, source)
        if not np.isfinite(step):
            raise InvalidInputError(f"Column {key!r} of {source} holds the step {step}")
        again += step in found and found[step] != value
        found[step] = value
    steps = sorted(found)
    note = (
        [f"{again} values of {name!r} were logged again at the same step; the last counts"] if again else []
    )
    return _Series(name, np.array(steps), np.array([found[s] for s in steps])), note


def _number(value: float | str, name: str, source: str) -> float:
    if isinstance(value, str):
        raise InvalidInputError(f"Column {name!r} of {source} holds something that is no number: {value!r}")
    return value


def _not_finite(name: str, steps: np.ndarray, finite: np.ndarray) -> list[str]:
    bad = steps[~finite]
    if not len(bad):
        return []
    shown = ", ".join(f"{s:g}" for s in bad[:_SHOWN]) + (", ..." if len(bad) > _SHOWN else "")
    return [
        f"{len(bad)} of {len(steps)} values of {name!r} are NaN or infinite, and left out (steps {shown})"
    ]


def _paired(entropy: _Series, performance: _Series) -> tuple[pd.DataFrame, list[str]]:
    """Each finite evaluation with its entropy, by the rule of this module."""
    import pandas as pd

    keep = performance.finite
    steps, scores = performance.steps[keep], performance.values[keep]
    at = np.isin(steps, entropy.steps)
    h = np.full(len(steps), np.nan)
    h[at] = entropy.values[np.searchsorted(entropy.steps, steps[at])]
    h[~at] = _between(steps[~at], entropy.steps[entropy.finite], entropy.values[entropy.finite])
    usable = np.isfinite(h)
    notes = []
    if n := int((usable & ~at).sum()):
        notes.append(f"{n} evaluations lie between logged entropies: theirs is interpolated linearly")
    if (lost := steps[~usable]).size:
        notes.append(
            f"{lost.size} evaluations have no entropy at or around their step and are left out "
            f"(steps {', '.join(f'{s:g}' for s in lost[:_SHOWN])}{', ...' if lost.size > _SHOWN else ''})"
        )
    frame = pd.DataFrame({"step": steps, "entropy": h, "performance": scores})
    return frame[usable].reset_index(drop=True), notes


def _between(steps: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Linear interpolation, NaN outside the known steps and in gaps of more than `MAX_GAPS` usual ones."""
    if len(known) < 2 or not len(steps):
        return np.full(len(steps), np.nan)
    right = np.searchsorted(known, steps)
    inside = (right > 0) & (right < len(known))
    bounded = np.clip(right, 1, len(known) - 1)
    gap = known[bounded] - known[bounded - 1]
    allowed = inside & (gap <= MAX_GAPS * np.median(np.diff(known)))
    return np.where(allowed, np.interp(steps, known, values), np.nan)
