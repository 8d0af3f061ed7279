"""Several functions over the same steps of a run, one after another, each mapped over an engine."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ..errors import FileChangedError
from ..record.step_source import StepSource
from .tasks import Engine, Value


class Passes:
    """At most ``limit`` functions over the same steps; those that the first cannot read are left out.

    `sources`: the steps that are left; `errors`: by step, why it is not. ``progress`` is called with the
    fraction done.
    """

    def __init__(
        self,
        engine: Engine,
        sources: list[StepSource],
        limit: int,
        progress: Callable[[float], None] | None = None,
    ) -> None:
        self.sources = sources
        self.errors: dict[int, str] = {}
        self._engine = engine
        self._limit = limit
        self._progress = progress
        self._done = 0

    def do(self, function: Callable[[StepSource], Value], first: bool = False) -> Iterator[tuple[int, Value]]:
        """(place of the step, its value), as they come.

        Raises `FileChangedError` where a step that the first pass has read cannot be read again.
        """
        sources = self.sources
        total = sum(s.n_tokens for s in sources)
        found: list[int] = []
        done = 0
        for outcome in self._engine(function, sources, total):
            done += sources[outcome.index].n_tokens
            self._tell(done / total)
            if outcome.value is not None:
                found.append(outcome.index)
                yield outcome.index, outcome.value
            elif first:
                self.errors[sources[outcome.index].step] = str(outcome.error)
            else:
                raise FileChangedError(f"{sources[outcome.index]}: {outcome.error}; scan again")
        self._done += 1
        self.sources = [sources[i] for i in sorted(found)]

    def skip(self) -> None:
        """Go without a pass."""
        self._done += 1
        self._tell(0.0)

    def _tell(self, part: float) -> None:
        if self._progress is not None:
            self._progress((self._done + part) / self._limit)
