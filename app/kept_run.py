"""A run whose answers are kept until its folder changes, so that several analyses share one reading."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from entropylab.record.reader import Problem, Run

RUN_FILE = "_run.json"
PARTS = ("markers", "evaluations", "tokens", "responses")


class KeptRun(Run):
    """A `Run` that lists and reads its folder once for each state of it."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._run = Run(path)
        self._state: tuple[float, Run] | None = None
        self._kept: dict[Hashable, Any] = {}

    def steps(self, by: str = "step") -> pd.DataFrame:
        """A copy of the summaries."""
        return self._keep(("steps", by), lambda run: run.steps(by)).copy()

    def evaluations(self) -> pd.DataFrame:
        """A copy of the evaluations."""
        return self._keep("evaluations", lambda run: run.evaluations()).copy()

    def problems(self, pages: bool | None = None, *, rows: bool = True) -> list[Problem]:
        """A copy of the problems."""
        return list(self._keep(("problems", pages, rows), lambda run: run.problems(pages, rows=rows)))

    def whole_steps(self) -> list[int]:
        """A copy of the whole steps."""
        return list(self._keep("whole", lambda run: run.whole_steps()))

    def token_steps(self) -> list[int]:
        """A copy of the steps with token rows."""
        return list(self._keep("tokens", lambda run: run.token_steps()))

    def _keep(self, key: Hashable, read: Callable[[Run], Any]) -> Any:
        stamp = folder_stamp(self.path)
        if self._state is None or self._state[0] != stamp:
            self._state, self._kept = (stamp, self._run.frozen()), {}
        if key not in self._kept:
            self._kept[key] = read(self._state[1])
        return self._kept[key]


def reader(path: str) -> KeptRun:
    """The one reader of a folder, a new one where another run has taken its place."""
    return _reader(path, (Path(path) / RUN_FILE).stat().st_mtime_ns)


@st.cache_resource(show_spinner=False, max_entries=500)
def _reader(path: str, made: int) -> KeptRun:
    return KeptRun(path)


def folder_stamp(folder: Path) -> float:
    """The newest change in a run: files are replaced whole, so the folders' times tell."""
    times = [(folder / RUN_FILE).stat().st_mtime]
    for part in (folder / name for name in PARTS):
        if part.is_dir():
            times.append(part.stat().st_mtime)
            times += [entry.stat().st_mtime for entry in os.scandir(part) if entry.is_dir()]
    return max(times)
