"""How long the recorder holds up the training loop, beside writing the same tokens at once.

Floors, in the same alternating rounds: the same columns written synchronously with pyarrow, closed and
fsynced; and the bare memcpy of the same arrays. Wall-clock time and the calling thread's CPU time. The first
rounds, in which buffers are made, are kept apart. ``--rounds`` and ``--slow-disk`` (memory) change the run.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measure import keep

import entropylab as el

RESPONSES, TOKENS = 512, 2048
WARM_ROUNDS = 3


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


def write_at_once(tensors: dict[str, np.ndarray], path: Path) -> None:
    """The same columns, synchronously."""
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


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """(wall seconds, CPU seconds of this thread)."""
    wall, cpu = time.perf_counter(), time.thread_time()
    call()
    return time.perf_counter() - wall, time.thread_time() - cpu


def record_one(recorder: el.Recorder, step: int, tensors: dict[str, np.ndarray]) -> None:
    """What the training loop calls in a step."""
    recorder.record(step, None, **tensors)
    recorder.end_step(step)


def measure_blocking(folder: Path, rounds: int) -> dict[str, object]:
    """Medians over alternating rounds of the recorder's calls, the synchronous write and the memcpy."""
    times: dict[str, list[tuple[float, float]]] = {"recorder": [], "synchronous": [], "memcpy": []}
    target = {name: x.copy() for name, x in step_tensors(0).items()}
    with el.Recorder(folder / "run") as recorder:
        for step in range(WARM_ROUNDS + rounds):
            tensors = step_tensors(step % 4)
            times["memcpy"].append(timed(lambda t=tensors: [np.copyto(target[n], x) for n, x in t.items()]))
            path = folder / f"{step}.parquet"
            times["synchronous"].append(timed(lambda t=tensors, p=path: write_at_once(t, p)))
            path.unlink()
            times["recorder"].append(timed(lambda s=step, t=tensors: record_one(recorder, s, t)))
            recorder.flush()  # the rest of a training step, in which the writer is done
    size = sum(f.stat().st_size for f in (folder / "run/tokens").rglob("*.parquet"))
    found: dict[str, object] = {"tokens_a_step": RESPONSES * TOKENS, "rounds": rounds}
    for i, clock in enumerate(("wall", "thread_cpu")):
        median = {name: statistics.median(t[i] for t in x[WARM_ROUNDS:]) for name, x in times.items()}
        found |= {f"{name}_ms_{clock}": 1e3 * value for name, value in median.items()}
        found[f"ratio_{clock}"] = median["recorder"] / median["synchronous"]
    found["first_step_ms_wall"] = 1e3 * times["recorder"][0][0]
    found["bytes_a_token"] = size / (RESPONSES * TOKENS * (WARM_ROUNDS + rounds))
    return found


def resident(field: str) -> int:
    """VmRSS (now) or VmHWM (peak) of this process, bytes."""
    line = next(x for x in Path("/proc/self/status").read_text().splitlines() if x.startswith(field))
    return int(line.split()[1]) * 1024


def slow_disk(folder: Path, steps: int) -> None:
    """Record as fast as it goes while each file takes 0.4 s to reach the disk; print the peak."""
    from entropylab.record import writer

    sync = writer.os.fsync
    writer.os.fsync = lambda descriptor: (time.sleep(0.4), sync(descriptor))[1]  # a disk that is slow
    tensors = step_tensors(0)
    recorder = el.Recorder(folder / "slow")
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak of making the tensors
    before = resident("VmRSS")
    for step in range(steps):
        record_one(recorder, step, tensors)
    recorder.close()
    print(resident("VmHWM") - before)


def measure_memory(folder: Path) -> dict[str, object]:
    """Peak of memory above what was in use before the first step, after few and after many steps, MiB."""
    found: dict[str, object] = {}
    for steps in (3, 12):
        command = [sys.executable, __file__, "--slow-disk", str(steps), str(folder / str(steps))]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found[f"peak_mib_slow_disk_{steps}_steps"] = int(done.stdout) / 2**20
    found["inputs_mib_a_step"] = sum(x.nbytes for x in step_tensors(0).values()) / 2**20
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--slow-disk", nargs=2, metavar=("STEPS", "FOLDER"))
    arguments = parser.parse_args()
    if arguments.slow_disk:
        Path(arguments.slow_disk[1]).mkdir(parents=True)
        slow_disk(Path(arguments.slow_disk[1]), int(arguments.slow_disk[0]))
        return
    with tempfile.TemporaryDirectory() as name:
        blocking = measure_blocking(Path(name), arguments.rounds)
        keep("recorder", {**blocking, **measure_memory(Path(name))})


if __name__ == "__main__":
    main()
