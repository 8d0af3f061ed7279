"""Engines of this machine: this process, or several within a budget of memory."""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from ..errors import EngineError
from .tasks import ATTEMPTS, Outcome, Task, Value, attempt

WORKER_BYTES = 700 << 20
"""Most that a worker takes for a step, whatever its size."""

WORTH = 10_000_000
"""Tokens that take this process longer than others take to start."""


def in_process(
    function: Callable[[Task], Value], tasks: Sequence[Task], tokens: int
) -> Iterator[Outcome[Value]]:
    """One task after another, here."""
    for index, task in enumerate(tasks):
        yield attempt(function, index, task)


def workers_within(memory: int | None) -> int:
    """How many workers this machine has cores and memory (bytes; default: half of what is free) for."""
    budget = _free_memory() // 2 if memory is None else memory
    return max(1, min(_cores(), budget // WORKER_BYTES))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _free_memory() -> int:
    """Bytes that can be had without swapping; half of all where the system does not tell."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:"))
    except (OSError, StopIteration):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


@dataclass(frozen=True)
class Processes:
    """Processes, started anew where one dies; what was under way then is done again, one task at a time.

    ``worth``: fewer tokens are done in this process, before others would have started.
    """

    workers: int
    worth: int = 0

    def __call__(
        self, function: Callable[[Task], Value], tasks: Sequence[Task], tokens: int
    ) -> Iterator[Outcome[Value]]:
        """Do the tasks; raises `EngineError` where a task kills its workers again and again."""
        if tokens < self.worth:
            yield from in_process(function, tasks, tokens)
            return
        waiting = list(range(len(tasks)))[::-1]
        lost = dict.fromkeys(waiting, 0)
        while waiting:
            running: dict[Future[Outcome[Value]], int] = {}
            try:
                yield from self._run(function, tasks, waiting, running, {i for i in waiting if lost[i]})
            except BrokenProcessPool:
                for index in running.values():
                    lost[index] += 1
                    if lost[index] == ATTEMPTS:
                        raise EngineError(_died(tasks[index], self.workers)) from None
                waiting += sorted(running.values(), reverse=True)

    def _run(
        self,
        function: Callable[[Task], Value],
        tasks: Sequence[Task],
        waiting: list[int],
        running: dict[Future[Outcome[Value]], int],
        suspects: set[int],
    ) -> Iterator[Outcome[Value]]:
        """Empties ``waiting``; keeps in ``running`` one suspect alone, or a task more than workers."""
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(self.workers, mp_context=context) as pool:
            while waiting or running:
                while waiting and len(running) < (1 if suspects else self.workers + 1):
                    index = waiting.pop()
                    with _without_main():
                        running[pool.submit(attempt, function, index, tasks[index])] = index
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    suspects.discard(running.pop(future))
                    yield outcome


@contextmanager
def _without_main() -> Iterator[None]:
    """Processes that start inside do not run the script of this one again."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


def _died(task: object, workers: int) -> str:
    return (
        f"a worker died {ATTEMPTS} times while it did {task}; it may have run out of memory: "
        f"give fewer workers than {workers} (workers=, --workers) or more memory"
    )
