"""One process a rank and folder: a lock of the operating system, which a dead process cannot keep."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import socket
import time
from pathlib import Path
from typing import Any

from ..errors import RecorderError
from .run_info import now
from .writer import make_folder

fcntl: Any = importlib.import_module("fcntl") if os.name == "posix" else None
"""Without it two processes of one rank are not told apart."""


class RankLock:
    """Held from opening to closing a Recorder on a local folder.

    Raises `RecorderError` naming the process that holds it. A child made by fork neither holds nor releases
    it. Where the file system knows no locks, there is none.
    """

    def __init__(self, path: Path, rank: int) -> None:
        self._path = path
        self._pid = os.getpid()
        make_folder(path.parent)
        self._descriptor = self._acquire(rank)
        try:
            self._sign()
        except OSError:
            self.release()
            raise

    def _sign(self) -> None:
        owner = {"pid": self._pid, "host": socket.gethostname(), "since": now()}
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, json.dumps(owner).encode(), 0)

    def release(self) -> None:
        """Let go; does nothing in a child made by fork, or a second time. Never raises."""
        if self._descriptor < 0 or os.getpid() != self._pid:
            return
        with contextlib.suppress(OSError):  # on a disk that has turned read-only the file stays, unlocked
            if _same_file(self._descriptor, self._path):
                self._path.unlink(missing_ok=True)
        if fcntl is not None:
            _unlock(self._descriptor)
        os.close(self._descriptor)
        self._descriptor = -1

    def _acquire(self, rank: int) -> int:
        while True:
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            free = _lock(descriptor)
            current = _same_file(descriptor, self._path)
            if free and current:
                return descriptor
            owner = _owner(descriptor)
            os.close(descriptor)
            if free or not current:
                continue  # released between opening and locking
            if not is_gone(owner):
                raise RecorderError(_refusal(self._path.parent.parent, rank, owner))
            self._path.unlink(missing_ok=True)  # kept alive only by children of a dead process


def is_gone(owner: dict[str, Any]) -> bool:
    """Whether a process of this host has ended; of another host it is never known."""
    pid = owner.get("pid")
    if owner.get("host") != socket.gethostname() or not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False


def _lock(descriptor: int) -> bool:
    if fcntl is None:
        return True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True  # no locks on this file system
    return True


def _unlock(descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_UN)
    except OSError:
        return


def _same_file(descriptor: int, path: Path) -> bool:
    """Whether the path still names the open file."""
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    here = os.fstat(descriptor)
    return (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)


def _owner(descriptor: int) -> dict[str, Any]:
    """Who holds the lock; empty where it was taken a moment ago and is not signed yet."""
    for _ in range(20):
        try:
            owner = json.loads(os.pread(descriptor, 4096, 0))
            return owner if isinstance(owner, dict) else {}
        except ValueError:
            time.sleep(0.01)
    return {}


def _refusal(folder: Path, rank: int, owner: dict[str, Any]) -> str:
    who = f"process {owner.get('pid', '(unknown)')} on {owner.get('host', 'this file system')}"
    since = f" since {owner['since']}" if "since" in owner else ""
    own = owner.get("pid") == os.getpid()
    mend = "of an attached trainer by handle.detach()" if own else "or end that process"
    return (
        f"rank {rank} of {folder} is being recorded by {who}{since}; "
        f"close that Recorder, {mend}, or give this one another folder or rank"
    )
