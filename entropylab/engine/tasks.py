"""What every engine does with one task: try again what may pass, give back what does not."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from ..errors import EngineError, EntropylabError, FileChangedError

Task = TypeVar("Task")
Value = TypeVar("Value")

ATTEMPTS = 3
"""How often a task is tried: where reading fails, a file changes meanwhile, or its worker dies."""

_PAUSE = 0.5
"""Seconds before the second attempt; twice that before the third."""


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """What became of the task ``index``: its value, or the error that names what is wrong with its data."""

    index: int
    value: Value | None = None
    error: EntropylabError | None = None


class Engine(Protocol):
    """Maps a function over tasks, and gives each outcome when it is there, in any order.

    Function, tasks and values must be picklable. Raises what is wrong with the engine itself.
    """

    def __call__(
        self, function: Callable[[Task], Value], tasks: Sequence[Task], tokens: int
    ) -> Iterator[Outcome[Value]]:
        """Do the tasks."""
        ...


def attempt(function: Callable[[Task], Value], index: int, task: Task) -> Outcome[Value]:
    """Do one task; reading is tried again where it may pass."""
    for tried in range(1, ATTEMPTS + 1):
        try:
            return Outcome(index, function(task))
        except (OSError, FileChangedError) as error:
            if tried == ATTEMPTS:
                return Outcome(index, error=_named(error))
            time.sleep(_PAUSE * tried)
        except EntropylabError as error:
            return Outcome(index, error=error)
    raise AssertionError


def _named(error: OSError | FileChangedError) -> EntropylabError:
    if isinstance(error, EntropylabError):
        return error
    return EngineError(f"cannot be read after {ATTEMPTS} attempts: {error}")
