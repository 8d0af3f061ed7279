"""One thing that is wrong with a run on disk."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Problem:
    """A problem: its kind, the file or folder (inside the run) it concerns, and a message with the mend."""

    kind: str
    path: str
    message: str
