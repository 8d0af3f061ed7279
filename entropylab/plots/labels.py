"""Short names that tell runs apart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entropylab.record.reader import Run


def run_labels(runs: Sequence[Run]) -> dict[str, str]:
    """Path as text -> the shortest trailing part of the path that tells these runs apart."""
    parts = {str(run.path): Path(str(run.path)).resolve().parts for run in runs}
    short: dict[str, str] = {}
    for depth in range(1, max(map(len, parts.values()), default=0) + 1):
        short = {path: "/".join(pieces[-depth:]) for path, pieces in parts.items()}
        if len(set(short.values())) == len(short):
            break
    return short
