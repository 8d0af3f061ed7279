"""The folder of an import: written beside its place under a hidden name, renamed when it is whole."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..record.open_recorders import process_exists
from ..record.writer import make_folder, sync_folder
from .faults import DestinationExistsError

_MARK = ".importing-"


@contextmanager
def new_folder(destination: Path) -> Iterator[Path]:
    """A work folder that becomes ``destination`` if the body ends well and is removed if it does not.

    Raises `DestinationExistsError` if the destination exists. What a killed import left is removed first.
    """
    _refuse_existing(destination)
    make_folder(destination.parent)
    _remove_leftovers(destination)
    work = destination.parent / f".{destination.name}{_MARK}{os.getpid()}"
    work.mkdir()
    try:
        yield work
        _refuse_existing(destination)
        os.rename(work, destination)
        sync_folder(destination.parent)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


def _refuse_existing(destination: Path) -> None:
    if destination.exists() or destination.is_symlink():
        raise DestinationExistsError(
            f"{destination} exists already; name a new folder, nothing is overwritten"
        )


def _remove_leftovers(destination: Path) -> None:
    prefix = f".{destination.name}{_MARK}"
    for left in destination.parent.iterdir():
        pid = left.name.removeprefix(prefix)
        if left.name.startswith(prefix) and pid.isdigit() and _is_gone(int(pid)):
            shutil.rmtree(left, ignore_errors=True)


def _is_gone(pid: int) -> bool:
    return pid == os.getpid() or not process_exists(pid)
