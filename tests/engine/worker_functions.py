"""Functions for workers, importable by them."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from entropylab.errors import RunFormatError


def square(x: int) -> int:
    return x * x


def refuse_odd(x: int) -> int:
    if x % 2:
        raise RunFormatError(f"{x} is odd")
    return x


def die_once(task: tuple[str, int]) -> int:
    """Kill the worker at task 3, the first time."""
    folder, x = task
    if x == 3 and _first(Path(folder) / "died"):
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def always_die(x: int) -> int:
    """Kill the worker at task 3, each time."""
    if x == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return x * x


def fail_twice(task: tuple[str, int]) -> int:
    """A store that refuses twice."""
    folder, x = task
    if _first(Path(folder) / "one") or _first(Path(folder) / "two"):
        raise OSError("slow down")
    return x


def _first(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
