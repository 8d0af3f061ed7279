"""The steps that a reader is asked for, and whether their rows are there."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import cast

from ..errors import RunNotFoundError
from .arrays import whole_number
from .files import Location
from .history import steps_without
from .snapshot import Snapshot


def wanted_steps(steps: int | Iterable[int] | None) -> set[int] | None:
    """The steps asked for as a set, None for all."""
    if steps is None:
        return None
    asked = [steps] if isinstance(steps, Integral) else cast("Iterable[int]", steps)
    return {whole_number(step, "steps", 0, 2**31 - 1) for step in asked}


def check_stored(snapshot: Snapshot, wanted: set[int] | None, folder: Location) -> None:
    """`RunNotFoundError` for wanted steps without token rows."""
    stored = {step for step, markers in snapshot.history.whole.items() if any(m.tokens for m in markers)}
    absent = sorted((wanted or set()) - stored)
    pruned = sorted(set(absent) & set(steps_without(snapshot.history, "tokens")))
    if pruned:
        raise RunNotFoundError(
            f"{folder}: the token rows of the steps {pruned[:10]} were pruned, their summaries are kept; "
            "token_steps() lists those with rows"
        )
    if absent:
        raise RunNotFoundError(
            f"{folder}: no token rows of the steps {absent[:10]}; token_steps() lists those there"
        )


def concerns(path: str, steps: set[int] | None) -> bool:
    """Whether an unreadable marker file may hold one of the wanted steps; a compacted one may hold any."""
    return steps is None or "step-" not in path or int(path.split("step-")[1].split("/")[0]) in steps
