"""The power fails: what was not fsynced is gone. An ext4 image is copied under a process and mounted anew."""

from __future__ import annotations

import random
import shutil
import signal
import time

import pytest
from fault_checks import check_kept
from fault_mounts import ext4_image, mounted, need
from fault_process import Promises, Trainer
from fault_trials import trials

import entropylab as el
from entropylab.record.compaction import compact_run


@pytest.mark.parametrize("seed", trials(1, 60))
def test_the_power_fails_while_training(seed, fast, reference, outcome):
    """The page cache dies with the machine; the copy holds what had reached the device."""
    draw = random.Random(seed)
    image = ext4_image(fast / "image", 32 * 2**20)
    job = {"steps": reference.length, "flush_every": draw.choice([1, 4])}
    with mounted(fast / "disk", "-o", "loop", image) as disk, Trainer(disk / "r", **job) as trainer:
        trainer.wait_for("open")
        time.sleep(draw.uniform(0.0, 0.5))
        promises = cut(trainer, image, fast / "copy")
    with mounted(fast / "after", "-o", "loop", fast / "copy") as after:
        kept = check_kept(after / "r", promises, reference)
        with el.Recorder(after / "r") as recorder:
            assert recorder.attempt == 2
    assert kept >= promises.steps
    outcome(
        "power cut (ext4 image copied)",
        sees="a whole prefix; problems: interrupted, incomplete_step, temporary",
    )


def cut(trainer: Trainer, image, copy) -> Promises:
    """Stop the process, copy the device's content as it is, and what had been promised until then.

    The copy comes right after the stop: the kernel writes dirty pages by itself only seconds later.
    """
    trainer.stop()
    shutil.copyfile(image, copy)
    return trainer.end(signal.SIGKILL)


@pytest.mark.faults
@pytest.mark.parametrize("seed", range(10))
def test_the_power_fails_after_compaction(seed, fast, reference, outcome, make_run):
    """Merged files are durable before the originals go."""
    image = ext4_image(fast / "image", 32 * 2**20)
    with mounted(fast / "disk", "-o", "loop", image) as disk:
        run = make_run(disk / "r", steps=6, prompts=6, group=4, updates=2, seed=seed)
        steps = run.steps()
        need("sync", "-f", disk)
        compact_run(disk / "r")
        shutil.copyfile(image, fast / "copy")
    with mounted(fast / "after", "-o", "loop", fast / "copy") as after:
        found = el.open_run(after / "r")
        assert found.steps().equals(steps)
        assert {p.kind for p in found.problems()} <= {"leftover"}
    outcome("power cut after compaction", sees="the same content; problems: leftover")


@pytest.mark.faults
def test_this_test_can_fail(fast, reference, monkeypatch, make_run):
    """The same cut loses steps if nothing is fsynced, so the copy really lacks the page cache."""
    import os

    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    image = ext4_image(fast / "image", 32 * 2**20)
    with mounted(fast / "disk", "-o", "loop", image) as disk:
        make_run(disk / "r", steps=4, prompts=6, group=4, updates=2)
        shutil.copyfile(image, fast / "copy")
    with mounted(fast / "after", "-o", "loop", fast / "copy") as after, pytest.raises(el.EntropylabError):
        el.open_run(after / "r").steps()
