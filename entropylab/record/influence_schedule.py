"""When the influence of tokens is worth its time: every so many steps, within a share of the training."""

from __future__ import annotations

import time

from ..errors import InvalidInputError
from .arrays import whole_number


class InfluenceSchedule:
    """Every ``every``-th step, as long as all of it takes no more than ``share`` of the time since the start.

    The next one is taken to last as long as the last one did. The first step that is due is always done.
    """

    def __init__(self, every: int, share: float) -> None:
        self._every = whole_number(every, "influence_every", 1, 2**31 - 1)
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
            raise InvalidInputError(f"influence_share must be in (0, 1], got {share!r}")
        self._share = share
        self._start = time.perf_counter()
        self._spent = 0.0
        self._last = 0.0

    def wants(self, step: int) -> bool:
        """Whether the influence of a step's tokens is due and within the share."""
        if step % self._every:
            return False
        elapsed = time.perf_counter() - self._start
        return self._last == 0.0 or self._spent + self._last <= self._share * elapsed

    def spent(self, seconds: float) -> None:
        """The influence of one step took so long."""
        self._spent += seconds
        self._last = seconds
