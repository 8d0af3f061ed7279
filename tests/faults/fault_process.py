"""Start a training process, kill it, and know what it had been promised."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import entropylab as el

SCRIPT = Path(__file__).parent / "fault_trainer.py"
ROOT = Path(el.__file__).parents[1]
TIMEOUT = 240.0


@dataclass(frozen=True)
class Promises:
    """What the recorder's calls had said before the process ended."""

    attempt: int | None
    start: int
    steps: int
    """Steps 0 .. steps - 1 (from ``start`` on by this process) were promised to be durable."""
    ended: int
    """Steps whose `end_step` had returned."""
    evaluated: int
    """Evaluations at the steps below this one were promised to be durable."""
    saved: int | None
    closed: bool
    error: str | None

    @classmethod
    def of(cls, lines: list[str]) -> Self:
        """end_step(s) promises the steps before s; flush() and close() promise all."""
        said: dict[str, list[str]] = {}
        for line in lines:
            word, _, rest = line.partition(" ")
            said.setdefault(word, []).append(rest)
        number = {word: int(rests[-1]) for word, rests in said.items() if rests[-1].isdigit()}
        start, ended = number.get("start", 0), number.get("ended", -1)
        flushed = number.get("flushed", start - 1) + 1
        closed = "closed" in said
        return cls(
            attempt=number.get("open"),
            start=start,
            steps=max(start, ended + 1 if closed else ended, flushed),
            ended=ended + 1,
            evaluated=ended + 1 if closed else flushed,
            saved=number.get("saved"),
            closed=closed,
            error=said["error"][0] if "error" in said else None,
        )


class Trainer:
    """A child process that runs `fault_trainer.Job`; a context manager that leaves no process behind."""

    def __init__(
        self, path: str | Path, *, prefix: tuple[str, ...] = (), env: Any = None, **job: Any
    ) -> None:
        command = [*prefix, sys.executable, str(SCRIPT), json.dumps({"path": str(path), **job})]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        self._watchdog = threading.Timer(TIMEOUT, self.process.kill)
        self._watchdog.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._watchdog.cancel()
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def wait_for(self, word: str) -> str:
        """Read lines up to the first that begins with a word; what follows the word."""
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if line.split()[0] == word:
                return line.partition(" ")[2].strip()
        raise AssertionError(f"never said {word!r} but {self.lines}: {self.process.stderr.read()}")

    def send(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self) -> None:
        """SIGSTOP, and wait until every thread has stopped: one inside a system call ends that first."""
        self.send(signal.SIGSTOP)
        for task in Path(f"/proc/{self.process.pid}/task").iterdir():
            while (task / "stat").read_text().rpartition(")")[2].split()[0] not in "TZ":
                time.sleep(0.0005)

    def end(self, number: int | None = signal.SIGKILL) -> Promises:
        """Send a signal (None: let it end by itself), wait, and return what it had been promised."""
        if number is not None:
            self.send(number)
        rest, self.stderr = self.process.communicate()
        self.lines += rest.splitlines()
        return Promises.of(self.lines)

    @property
    def code(self) -> int | None:
        return self.process.returncode


def run_to_end(path: str | Path, **job: Any) -> Promises:
    """Train without a fault."""
    with Trainer(path, **job) as trainer:
        promises = trainer.end(None)
    assert promises.closed, (promises, trainer.stderr)
    return promises
