"""How long the recorder holds up the training loop, beside writing the same tokens at once.

Floor of the comparison: the same columns written synchronously with pyarrow, closed and fsynced.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import keep

import entropylab as el

RESPONSES, TOKENS, STEPS = 512, 2048, 6
SECONDS_OF_TRAINING = 2.0


def step_tensors(seed: int) -> dict[str, np.ndarray]:
    """One step of [512, 2048] = 1,048,576 tokens."""
    rng = np.random.default_rng(seed)
    shape = (RESPONSES, TOKENS)
    logprobs = -rng.exponential(0.5, shape).astype(np.float32)
    return {
        "logprobs": logprobs,
        "old_logprobs": logprobs + rng.normal(0, 0.01, shape).astype(np.float32),
        "entropy": rng.exponential(0.5, shape).astype(np.float32),
        "advantages": rng.normal(size=RESPONSES).astype(np.float32),
        "mask": np.ones(shape, dtype=bool),
        "token_ids": rng.integers(0, 32_000, shape).astype(np.int32),
    }


def write_at_once(tensors: dict[str, np.ndarray], path: Path) -> float:
    """Seconds of a synchronous write of the same columns."""
    start = time.perf_counter()
    columns = {
        name: np.broadcast_to(value[:, None], (RESPONSES, TOKENS)).ravel()
        if value.ndim == 1
        else value.ravel()
        for name, value in tensors.items()
        if name != "mask"
    }
    with path.open("wb") as file:
        pq.write_table(pa.table(columns), file, compression="zstd", compression_level=1, use_dictionary=False)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start


def record_steps(folder: Path) -> tuple[list[float], int]:
    """Seconds that record and end_step block in each step, and the bytes of the token files."""
    blocked = []
    with el.Recorder(folder) as recorder:
        for step in range(STEPS):
            tensors = step_tensors(step)
            start = time.perf_counter()
            recorder.record(step, None, **tensors)
            recorder.end_step(step)
            blocked.append(time.perf_counter() - start)
            time.sleep(SECONDS_OF_TRAINING)
    return blocked, sum(f.stat().st_size for f in (folder / "tokens").rglob("*.parquet"))


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        at_once = [write_at_once(step_tensors(step), folder / f"{step}.parquet") for step in range(STEPS)]
        blocked, size = record_steps(folder / "run")
    keep(
        "recorder",
        {
            "tokens_a_step": RESPONSES * TOKENS,
            "blocked_ms": 1e3 * statistics.median(blocked),
            "synchronous_ms": 1e3 * statistics.median(at_once),
            "ratio": statistics.median(blocked) / statistics.median(at_once),
            "bytes_a_token": size / (RESPONSES * TOKENS * STEPS),
        },
    )


if __name__ == "__main__":
    main()
