"""The options that choose where the steps of runs are worked on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from entropylab.engine.tasks import Engine

Scan = Annotated[bool, typer.Option("--scan", help="Exact figures alone, of every stored step at any size.")]
EngineName = Annotated[str, typer.Option("--engine", help="local (cores of this machine) or ray.")]
Workers = Annotated[int | None, typer.Option(help="At most so many; default: by cores and memory.")]
Memory = Annotated[
    float | None, typer.Option(metavar="GIB", help="For all workers; default: half of what is free.")
]
Address = Annotated[str | None, typer.Option(help="Of the Ray cluster; default: one here.")]

_GIB = 1 << 30


def chosen_engine(engine: str, workers: int | None, memory: float | None, address: str | None) -> Engine:
    """The engine of the options."""
    from entropylab.engine.choice import engine_of

    budget = None if memory is None else int(memory * _GIB)
    return engine_of(engine, workers=workers, memory=budget, address=address)
