"""Whether a run is being recorded, and keeping others from its files while they are rewritten."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import RecorderError
from .files import Location
from .paths import lock_file, parse_open_file
from .rank_lock import RankLock
from .run_info import read_json
from .snapshot import Snapshot


def is_alive(note: Mapping[str, Any]) -> bool:
    """Whether an open recorder's process may still run; of another machine it is taken for granted."""
    if note.get("interrupted"):
        return False
    pid = note.get("pid")
    if note.get("host") != socket.gethostname() or not isinstance(pid, int):
        return True
    return process_exists(pid)


def process_exists(pid: int) -> bool:
    """Whether a process of this machine runs, of this user or another."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def check_closed(snapshot: Snapshot) -> None:
    """`RecorderError` where a recorder of the run is open; a later attempt of its rank says that it is not.

    Raises `RunFormatError` where the file of an open recorder cannot be read.
    """
    opened = {
        name: parse_open_file(name.rsplit("/", 1)[1]) or (0, 0) for name in snapshot.inventory.open_files
    }
    attempts = [(m.rank, m.attempt) for m in snapshot.markers] + list(opened.values())
    for name, (rank, attempt) in opened.items():
        if any(other == rank and later > attempt for other, later in attempts):
            continue
        try:
            note = read_json(snapshot.folder / name)
        except FileNotFoundError:
            continue  # closed since the inventory was taken
        if is_alive(note):
            raise RecorderError(
                f"{snapshot.folder}: rank {rank} is being recorded by process {note.get('pid')} on "
                f"{note.get('host')} since {note.get('created')}; close that Recorder, or delete {name} if "
                "that process is gone"
            )


@contextmanager
def kept_closed(folder: Location, ranks: list[int]) -> Iterator[None]:
    """Refuses a local run that is being recorded, and recorders of its lowest rank while the block runs.

    Raises `RecorderError` naming the process that holds a rank. An object store knows no locks.
    """
    if not isinstance(folder, Path) or not ranks:
        yield
        return
    lowest, *others = ranks
    held = RankLock(folder / lock_file(lowest), lowest)
    try:
        for rank in others:
            RankLock(folder / lock_file(rank), rank).release()
        yield
    finally:
        held.release()
