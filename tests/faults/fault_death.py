"""A process that kills itself at the n-th change of a folder: no moment between two is skipped."""

from __future__ import annotations

import os
import resource
import signal
import sys

_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = ("os.rename", "os.remove", "os.rmdir", "os.mkdir")


def die_at(number: int, folder: str) -> None:
    """SIGKILL this process just before its ``number``-th change below a folder (from 1).

    Changes: opening a file to write, fsync, rename, unlink, a new or removed folder. On any thread.
    """
    left = [number]
    prefix = os.path.abspath(folder)
    fsync = os.fsync

    def count() -> None:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def hook(event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            change = isinstance(flags, int) and flags & _WRITES
        elif event in _CHANGES:
            path, change = arguments[0], True
        else:
            return
        if change and not isinstance(path, int) and os.path.abspath(os.fspath(path)).startswith(prefix):
            count()

    def counted_fsync(descriptor: int) -> None:
        count()
        fsync(descriptor)

    sys.addaudithook(hook)
    os.fsync = counted_fsync


def die_when_a_file_reaches(size: int) -> None:
    """The kernel ends this process inside the write() that makes a file larger; ``size`` bytes are there."""
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
