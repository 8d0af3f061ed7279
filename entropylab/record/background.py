"""One writer thread behind a bounded queue; its errors surface at the next call."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from ..errors import InvalidInputError, RecorderError

QUEUE_SIZE = 2


class WriterThread:
    """Runs jobs in order on one daemon thread. After a failed job the later ones are not run."""

    def __init__(self, name: str) -> None:
        self._jobs: queue.Queue[Callable[[], object] | None] = queue.Queue(QUEUE_SIZE)
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def submit(self, job: Callable[[], object]) -> None:
        """Queue a job; waits only while the queue is full."""
        self.check()
        self._jobs.put(job)

    def wait(self) -> None:
        """Return when every job so far has run; `RecorderError` if one failed."""
        self._jobs.join()
        self.check()

    def check(self) -> None:
        """`RecorderError` if a job has failed; `InvalidInputError` if it was a value that was handed over."""
        if isinstance(self._error, InvalidInputError):
            raise InvalidInputError(
                f"{self._error}; found when its step was written: it is not stored, and nothing since. "
                "Mend the value and open a new Recorder on the folder"
            ) from self._error
        if self._error is not None:
            raise RecorderError(
                f"the recorder could not write: {self._error}; what was recorded since is not stored. "
                "Mend the cause (disk space, permissions) and open a new Recorder on the folder"
            ) from self._error

    def stop(self) -> None:
        """Run what is queued, then end the thread."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def _run(self) -> None:
        while True:
            job = self._jobs.get()
            try:
                if job is None:
                    return
                if self._error is None:
                    job()
            except BaseException as error:
                self._error = error
            finally:
                self._jobs.task_done()
