"""A disk that is slow or hangs: training waits no more than it must, and nothing is lost."""

from __future__ import annotations

import os
import random
import signal
import threading
import time

import numpy as np
import pytest
from fault_checks import check_kept
from fault_mounts import ext4_image, mounted, throttled
from fault_process import Trainer
from fault_trials import trials

import entropylab as el


@pytest.mark.parametrize("rate", [pytest.param(20_000, marks=pytest.mark.faults), pytest.param(60_000)])
def test_a_throttled_disk(rate, tmp_path, reference, outcome):
    """ext4 on a block device that a control group lets write 20 to 60 kB/s; SIGKILL in the middle."""
    image = ext4_image(tmp_path / "image", 32 * 2**20)
    with mounted(tmp_path / "disk", "-o", "loop", image) as disk, throttled(disk, rate) as processes:
        with Trainer(disk / "r", steps=reference.length, flush_every=1000) as trainer:
            trainer.wait_for("ready")
            processes.write_text(str(trainer.process.pid))
            begin = time.monotonic()
            trainer.wait_for("open")
            time.sleep(2.0 if rate > 50_000 else 6.0)
            promises = trainer.end()
        seconds = time.monotonic() - begin
        kept = check_kept(disk / "r", promises, reference)
        assert kept * 4_000 < 3 * rate * seconds, "the disk was not slow"
        assert promises.ended <= kept + 2, "end_step ran ahead of the disk"
    outcome("a slow disk, then SIGKILL", sees="training waits in end_step; a whole prefix")


def test_record_does_not_wait_for_a_slow_disk_and_end_step_waits_for_the_step_before(
    fast, batch_of, slow_fsync
):
    """The first record of a step returns while the step before is still being written."""
    with el.Recorder(fast / "r") as recorder:
        for step in range(3):
            begin = time.monotonic()
            recorder.record(step, **batch_of(step))
            recorded = time.monotonic() - begin
            recorder.end_step(step)
            assert recorded < slow_fsync / 2
        begin = time.monotonic()
    assert time.monotonic() - begin > slow_fsync
    run = el.open_run(fast / "r")
    assert run.whole_steps() == [0, 1, 2]
    assert run.problems() == []


@pytest.fixture
def batch_of():
    def batch(step: int) -> dict:
        draw = np.random.default_rng(step)
        shape = (8, 5)
        return {
            "logprobs": -draw.exponential(size=shape),
            "advantages": draw.normal(size=8),
            "mask": np.ones(shape),
        }

    return batch


@pytest.fixture
def slow_fsync(monkeypatch):
    """Each fsync of the writer thread takes a tenth of a second more; the seconds of one step's files."""
    fsync = os.fsync

    def wait(descriptor: int) -> None:
        if threading.current_thread() is not threading.main_thread():
            time.sleep(0.1)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", wait)
    return 0.3


@pytest.mark.parametrize("seed", trials(1, 25))
def test_a_process_that_is_stopped_and_goes_on(seed, fast, reference, outcome):
    """SIGSTOP, SIGCONT at random moments, as a suspended machine does; then SIGKILL."""
    draw = random.Random(seed)
    with Trainer(fast / "r", steps=reference.length) as trainer:
        trainer.wait_for("open")
        for _ in range(8):
            time.sleep(draw.uniform(0.0, 0.05))
            trainer.stop()
            run = el.open_run(fast / "r")
            reference.check_steps(run, len(run.whole_steps()))
            assert "interrupted" not in {p.kind for p in run.problems()}
            trainer.send(signal.SIGCONT)
        promises = trainer.end()
    check_kept(fast / "r", promises, reference)
    outcome("SIGSTOP, SIGCONT, then SIGKILL", sees="a stopped run is no problem; then a whole prefix")
