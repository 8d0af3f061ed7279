"""Which attempt of the run a rank's step belongs to: that of rank 0, as `_run.json` tells it."""

from __future__ import annotations

from ..errors import RunFormatError, StoreError
from .files import Location, Stamp, stamp_of
from .paths import RUN_FILE
from .run_info import read_info


class RunAttempt:
    """The newest attempt of rank 0 in a folder; `_run.json` is read again only where it has changed.

    Rank 0 writes it before its first step, so in a training whose ranks go together every rank knows of a
    restart by its first step. No clock is asked: those of two machines differ.
    """

    def __init__(self, folder: Location, rank: int, attempt: int) -> None:
        self._path = folder
        self._newest = attempt if rank == 0 else 1
        self._follows = rank != 0
        self._stamp: Stamp | None = None

    def newest(self) -> int:
        """The attempt now; the last one known where the file cannot be read."""
        stamp = stamp_of(self._path / RUN_FILE) if self._follows else None
        if stamp is not None and stamp != self._stamp:
            try:
                self._newest = int(read_info(self._path)["attempts"][-1]["attempt"])
                self._stamp = stamp
            except (FileNotFoundError, RunFormatError, StoreError):
                return self._newest
        return self._newest
