"""Engines by name."""

from __future__ import annotations

from ..errors import InvalidInputError, UnknownNameError
from .local import WORTH, Processes, in_process, workers_within
from .ray_cluster import RayCluster
from .tasks import Engine

ENGINES = ("local", "ray")


def engine_of(
    name: str = "local", *, workers: int | None = None, memory: int | None = None, address: str | None = None
) -> Engine:
    """The engine ``local`` (processes of this machine; one worker: this process) or ``ray``.

    workers: at most so many tasks at a time; by default processes start only where they are worth it.
    memory: bytes that the processes of this machine may take together, by default half of what is free.
    address: of the Ray cluster.
    Raises `UnknownNameError`, and `InvalidInputError` for settings that the engine has no use for.
    """
    if name not in ENGINES:
        raise UnknownNameError(f"engine {name!r} does not exist: take one of {', '.join(ENGINES)}")
    if workers is not None and workers < 1:
        raise InvalidInputError(f"workers is {workers}: give a number of at least 1")
    if name == "ray":
        if memory is not None:
            raise InvalidInputError("memory= is of the engine local; Ray keeps to the memory of its nodes")
        return RayCluster(address, workers)
    if address is not None:
        raise InvalidInputError(f"address={address!r} is of the engine ray: give engine='ray' with it")
    if workers is not None:
        return in_process if workers == 1 else Processes(min(workers, workers_within(memory)))
    return Processes(workers_within(memory), WORTH)
