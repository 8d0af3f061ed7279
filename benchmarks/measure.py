"""Timing and bookkeeping shared by the benchmarks."""

from __future__ import annotations

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def alternate(candidates: Mapping[str, Callable[[], object]], rounds: int = 15) -> dict[str, float]:
    """Median process CPU seconds of each candidate, run in turn so that drift of the machine cancels."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for run in candidates.values():
        run()
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.process_time()
            run()
            times[name].append(time.process_time() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def keep(name: str, figures: Mapping[str, object]) -> None:
    """Print the figures and write them to ``results/<name>.json``."""
    record = {"machine": platform.machine(), "python": platform.python_version(), **figures}
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(record, indent=2) + "\n")
    print(json.dumps(figures, indent=2))
