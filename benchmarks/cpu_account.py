"""Whose CPU time it is: that of attaching, or that of the trainer, method by method."""

from __future__ import annotations

import functools
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

METHODS = (
    *("training_step", "compute_loss", "log", "get_high_entropy_mask", "_calculate_rewards"),
    *("_generate_and_score_completions", "_get_per_token_logps_and_entropies"),
)
"""The methods through which attaching watches the trainer."""


class Account:
    """CPU seconds of this thread by owner: inside a method of one owner, without calls of the others'."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._owners = ["trainer"]
        self._since = time.thread_time()

    def _charge(self) -> None:
        now = time.thread_time()
        self.seconds[self._owners[-1]] += now - self._since
        self._since = now

    def charged(self, owner: str, method: Callable[..., Any]) -> Callable[..., Any]:
        """The method, its time charged to ``owner``."""

        @functools.wraps(method)
        def run(*args: Any, **kwargs: Any) -> Any:
            self._charge()
            self._owners.append(owner)
            try:
                return method(*args, **kwargs)
            finally:
                self._charge()
                self._owners.pop()

        return run


@contextmanager
def watching(kinds: dict[str, type]) -> Iterator[Account]:
    """Charge the methods of the classes to their owners while this lasts."""
    account = Account()
    before = [(kind, name, vars(kind).get(name)) for kind in kinds.values() for name in METHODS]
    for owner, kind in kinds.items():
        for name in METHODS:
            setattr(kind, name, account.charged(owner, getattr(kind, name)))
    try:
        yield account
    finally:
        account._charge()
        for kind, name, method in before:
            if method is None:
                delattr(kind, name)
            else:
                setattr(kind, name, method)


def writer_seconds() -> float:
    """CPU seconds of the recorder's writer threads so far."""
    writers = [t for t in threading.enumerate() if t.name.startswith("entropylab-writer") and t.ident]
    return sum(time.clock_gettime(time.pthread_getcpuclockid(t.ident)) for t in writers if t.ident)
