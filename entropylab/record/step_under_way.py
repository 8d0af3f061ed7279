"""The step that a recorder is taking in: its number, its pieces, and the order they may come in."""

from __future__ import annotations

import numpy as np

from ..errors import RecorderError
from .staging import Staged


class StepUnderWay:
    """Pieces of one step at a time; steps go up, and a piece of a step comes once."""

    def __init__(self) -> None:
        self.number: int | None = None
        """The step under way; None between steps."""
        self.last = -1
        """The last step that has ended; -1 before the first."""
        self._pieces: list[Staged] = []
        self._rows = 0

    @property
    def newest(self) -> int:
        """The highest step seen, -1 before the first."""
        return self.last if self.number is None else self.number

    def check_order(self, step: int, update: int, micro_step: int) -> None:
        """`RecorderError` for a step that is over or a piece that is there already."""
        if step <= self.last or (self.number is not None and step < self.number):
            raise RecorderError(
                f"record(step={step}) after step {self.newest} of this attempt; "
                "after a restart open a new Recorder, which supersedes the steps that are repeated"
            )
        pieces = self._pieces if self.number == step else []
        if any((s.call.update, s.call.micro_step) == (update, micro_step) for s in pieces):
            raise RecorderError(
                f"record(step={step}, update={update}, micro_step={micro_step}) was called twice; "
                "number the optimizer updates with update= and the pieces of accumulation with micro_step="
            )

    def default_ids(self, step: int, rows: int, rank: int, world_size: int) -> np.ndarray:
        """Ids of the next responses that were not given any: unique over steps and ranks."""
        first = self._rows if self.number == step else 0
        index = np.arange(first, first + rows, dtype=np.int64)
        return (np.int64(step) << 32) + index * world_size + rank

    def add(self, step: int, rows: int, piece: Staged) -> None:
        """Take a piece of so many responses in; the step before has ended."""
        self._rows = rows + (self._rows if self.number == step else 0)
        self.number = step
        self._pieces.append(piece)

    def end(self) -> list[Staged]:
        """End the step; its pieces."""
        assert self.number is not None
        self.last, self.number = self.number, None
        return self.drop()

    def drop(self) -> list[Staged]:
        """Let go of the pieces."""
        pieces, self._pieces = self._pieces, []
        return pieces
