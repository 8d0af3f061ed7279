"""A long run: writing, reading and compacting stay quick; threads, files and memory do not grow."""

from __future__ import annotations

import os
import resource
import threading
import time

import numpy as np
import pytest
from fault_trials import marked

import entropylab as el
from entropylab.record.compaction import compact_run


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def values(step: int) -> dict:
    draw = np.random.default_rng(step)
    shape = (4, 6)
    logprobs = -draw.exponential(size=shape)
    return {
        "logprobs": logprobs,
        "advantages": draw.normal(size=4),
        "mask": np.ones(shape),
        "entropy": -logprobs,
    }


@pytest.mark.parametrize("steps", marked([120, 10_000], 1))
def test_a_long_run(steps, fast, outcome):
    path, files, threads = fast / "r", open_files(), threading.active_count()
    marks = []
    with el.Recorder(path) as recorder:
        for step in range(steps):
            recorder.record(step, **values(step))
            if step in (steps // 10, steps // 2, steps - 1):
                recorder.flush()
                memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
                marks.append((time.monotonic(), memory, open_files(), threading.active_count()))
    assert {m[2] for m in marks} == {files + 1}, "more open files than the lock of the rank"
    assert {m[3] for m in marks} == {threads + 1}
    (early, _, last) = marks
    assert last[1] - early[1] < 100_000 + 20 * steps, "memory grows with the steps (kB)"
    slower = (last[0] - marks[1][0]) / 0.5 / ((marks[1][0] - early[0]) / 0.4)
    assert slower < 3.0, f"the second half is {slower:.1f} times as slow as the first"
    seconds = check_read(path, steps)
    assert open_files() == files
    outcome(f"{steps} steps", sees=", ".join(f"{k} {v:.1f} s" for k, v in seconds.items()))


def check_read(path, steps: int) -> dict[str, float]:
    """Read everything of the run, as it is and compacted; the seconds each part took."""
    seconds = {}
    begin = time.monotonic()
    frame = el.open_run(path).steps()
    seconds["steps()"] = time.monotonic() - begin
    assert frame["step"].tolist() == list(range(steps))
    assert el.open_run(path).problems() == []
    run = el.open_run(path)
    run.steps()
    begin = time.monotonic()
    assert run.steps().equals(frame)
    seconds["again"] = time.monotonic() - begin
    begin = time.monotonic()
    assert sum(b.num_rows for b in run.tokens(columns=["logprob"])) == 24 * steps
    seconds["tokens()"] = time.monotonic() - begin
    begin = time.monotonic()
    compact_run(path)
    seconds["compact"] = time.monotonic() - begin
    begin = time.monotonic()
    merged = el.open_run(path).steps()
    seconds["steps() merged"] = time.monotonic() - begin
    assert merged.equals(frame)
    expected = [
        np.mean(-values(s)["logprobs"].astype(np.float32), dtype=np.float64) for s in range(0, steps, 997)
    ]
    assert frame["entropy_token_mean"].iloc[::997].to_numpy() == pytest.approx(expected, rel=1e-6)
    return seconds
