"""The engine of a Ray cluster: the same function on its workers, which must see the runs at the same path."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import EngineError, require_extra
from .tasks import ATTEMPTS, Outcome, Task, Value, attempt

IN_FLIGHT = 4
"""Tasks that are given to Ray for each core it has, so that results never pile up."""


@dataclass(frozen=True)
class RayCluster:
    """A cluster by its address (None: the one this process is in, else one of this machine).

    ``workers``: at most so many tasks at a time; None: as many as the cluster has cores for.
    """

    address: str | None = None
    workers: int | None = None

    def __call__(
        self, function: Callable[[Task], Value], tasks: Sequence[Task], tokens: int
    ) -> Iterator[Outcome[Value]]:
        """Do the tasks; Ray does a task again whose worker died. Raises `EngineError` where it gives up."""
        ray = _connected(self.address)
        remote = ray.remote(num_cpus=1, max_retries=ATTEMPTS - 1)(attempt)
        limit = self.workers or IN_FLIGHT * max(1, int(ray.cluster_resources().get("CPU", 1)))
        waiting = list(range(len(tasks)))[::-1]
        running: dict[Any, int] = {}
        while waiting or running:
            while waiting and len(running) < limit:
                index = waiting.pop()
                running[remote.remote(function, index, tasks[index])] = index
            done, _ = ray.wait(list(running), num_returns=1)
            index = running.pop(done[0])
            try:
                yield ray.get(done[0])
            except ray.exceptions.RayError as error:
                raise EngineError(f"Ray gave up on {tasks[index]}: {error}") from error


def _connected(address: str | None) -> Any:
    try:
        import ray
    except ImportError as error:
        raise require_extra("ray", "ray", "the engine ray") from error
    if not ray.is_initialized():
        try:
            ray.init(address=address, log_to_driver=False, include_dashboard=False)
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise EngineError(f"no Ray cluster at {address!r}: {error}") from error
    return ray
