"""Engines of this machine: this process, or several within a budget of memory."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

from ..errors import EngineError
from .tasks import ATTEMPTS, Outcome, Task, Value, attempt

WORKER_BYTES = 700 << 20
"""Most that a worker takes for a step, whatever its size."""


def in_process(function: Callable[[Task], Value], tasks: Sequence[Task]) -> Iterator[Outcome[Value]]:
    """One task after another, here."""
    for index, task in enumerate(tasks):
        yield attempt(function, index, task)


def workers_within(memory: int | None) -> int:
    """How many workers this machine has cores and memory (bytes; default: half of what is free) for."""
    budget = _free_memory() // 2 if memory is None else memory
    return max(1, min(len(os.sched_getaffinity(0)), budget // WORKER_BYTES))


def _free_memory() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Processes:
    """Processes, started anew where one dies; what was under way then is done again, one task at a time."""

    workers: int

    def __call__(self, function: Callable[[Task], Value], tasks: Sequence[Task]) -> Iterator[Outcome[Value]]:
        """Do the tasks; raises `EngineError` where workers die of the same tasks again and again."""
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
                    running[pool.submit(attempt, function, index, tasks[index])] = index
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    outcome = future.result()
                    suspects.discard(running.pop(future))
                    yield outcome


def _died(task: object, workers: int) -> str:
    return (
        f"a worker died {ATTEMPTS} times while it did {task}; it may have run out of memory: "
        f"give fewer workers than {workers} (workers=, --workers) or more memory"
    )
