"""One rank's hold on a run folder: its attempt, `_run.json`, and the file that says it is still open."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import RecorderError
from ..schema import FORMAT_VERSION
from .attempts import last_attempt
from .covariance_set import combine
from .files import Location
from .paths import RUN_FILE, lock_file, open_file
from .rank_lock import RankLock
from .run_attempt import RunAttempt
from .run_info import FORMAT_FIELD, attempt_info, merge_info, now, read_info
from .step_files import Origin
from .token_sampling import TokenSampling
from .vocabulary import write_vocabulary
from .writer import make_folder, write_json


class Session:
    """Opens a folder as the next attempt of a rank; rank 0 keeps `_run.json`.

    Raises `RunFormatError` if the folder holds a foreign or newer run, `RecorderError` if it cannot be
    written.
    """

    def __init__(
        self,
        folder: Location,
        *,
        rank: int,
        world_size: int,
        config: Mapping[str, Any],
        method: str | None,
        parent: str | None,
        sampling: TokenSampling,
        vocabulary: Sequence[str] | None = None,
    ) -> None:
        self._info: dict[str, Any] | None = None
        self._lock: RankLock | None = None
        self._first_step: int | None = None
        try:
            previous = read_info(folder) if (folder / RUN_FILE).is_file() else None
            make_folder(folder)
            if isinstance(folder, Path):
                self._lock = RankLock(folder / lock_file(rank), rank)
            attempt = last_attempt(folder, rank) + 1
            self.origin = Origin(folder, rank, attempt, world_size, now())
            self.newest_attempt = RunAttempt(folder, rank, attempt).newest
            if rank == 0:
                newest = attempt_info(
                    attempt, method=method, config=config, world_size=world_size, sampling=sampling
                )
                self._info = merge_info(previous, newest, parent)
                if vocabulary is not None:
                    write_vocabulary(folder, vocabulary)
                write_json(folder / RUN_FILE, self._info)
            self._write_open_file({})
        except OSError as error:
            self.release()
            raise RecorderError(
                f"cannot write a run to {folder}: {error}; check the path and rights"
            ) from error
        except BaseException:
            self.release()
            raise

    def note_covariance_sets(self, labels: Iterable[str | None]) -> None:
        """Say in `_run.json` what the covariance was centred over, where that is news."""
        if self._info is None:
            return
        label = combine([self._info["covariance_set"], *labels])
        if label != self._info["covariance_set"]:
            self._info["covariance_set"] = label
            write_json(self.origin.folder / RUN_FILE, self._info)

    def begin(self, step: int) -> None:
        """Note the first step, so that a reader knows what is missing if no step gets whole."""
        self._first_step = step
        self._write_open_file({})

    def end(self) -> None:
        """Everything is written: the open recorder's file goes."""
        self._open_path.unlink(missing_ok=True)

    def release(self) -> None:
        """Let go of the rank, so that another recorder may take it."""
        if self._lock is not None:
            self._lock.release()

    def interrupt(self, reason: str, step_under_way: int | None) -> None:
        """Leave a note of what was lost; if that fails the open recorder's file still tells of it."""
        try:
            self._write_open_file({"interrupted": reason, "step_under_way": step_under_way})
        except OSError:
            return

    @property
    def _open_path(self) -> Location:
        return self.origin.folder / open_file(self.origin.rank, self.origin.attempt)

    def _write_open_file(self, note: Mapping[str, Any]) -> None:
        about: dict[str, Any] = {"pid": os.getpid(), "host": socket.gethostname(), "created": now()}
        about["first_step"] = self._first_step
        write_json(self._open_path, {FORMAT_FIELD: FORMAT_VERSION, "kind": "open", **about, **note})
