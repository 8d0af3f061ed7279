"""A training process to be killed: GRPO on a table policy, recorded. Its lines say what it was promised.

``python fault_trainer.py '{"path": "...", "steps": 100}'``; the fields are those of `Job`. A line leaves the
process in one system call the moment the recorder's call has returned, so a kill cannot take it back.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import resource
import signal
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
from fault_death import die_at, die_when_a_file_reaches

import entropylab as el
from entropylab.record import run_info

PROMPTS, GROUP, UPDATES, FRACTION, LR = 6, 4, 2, 0.02, 0.3
CONFIG = {"seed": 0, "lr": LR}

_SPEC = importlib.util.spec_from_file_location("grpo", Path(__file__).parents[1] / "conftest.py")
grpo = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(grpo)


@dataclass(frozen=True)
class Job:
    path: str
    steps: int = 150
    rank: int = 0
    world_size: int = 1
    flush_every: int = 4
    flush_before_saving: bool = True
    evaluation_copies: int = 1
    checkpoint: str | None = None
    exit_on_sigterm: bool = False
    clock_offset: float = 0.0
    file_size_limit: int | None = None
    die_at: int | None = None
    die_at_size: int | None = None
    rush: int = 0
    no_tokens: bool = False
    uid: int | None = None
    stay: bool = False
    arguments: dict | None = None


def training(policy, start: int = 0) -> Iterator[tuple[int, dict[str, float], list[dict]]]:
    """(step, evaluation before it, what `record` gets); each step depends on policy and step alone."""
    for step in itertools.count(start):
        values = grpo.evaluate(policy, 0, step)
        rollout = grpo.rollout(policy, step, np.random.default_rng([7, step]), PROMPTS, GROUP)
        yield step, values, grpo.train_step(policy, rollout, UPDATES, FRACTION, LR)


def new_policy():
    return grpo.TablePolicy(PROMPTS, np.random.default_rng(0))


def record_step(recorder: el.Recorder, step: int, values: dict, records: list[dict], job: Job) -> None:
    if job.rank == 0:
        for metric, copy in itertools.product(values, range(job.evaluation_copies)):
            name = metric if copy == 0 else f"{metric}/{copy}"
            recorder.evaluate(step, metric=name, value=values[metric], n=PROMPTS)
    for record in records:
        recorder.record(step, **grpo.rank_part(record, job.rank, job.world_size))


def say(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def restore(job: Job):
    """(policy, first step) of the checkpoint, or of the beginning."""
    policy = new_policy()
    if job.checkpoint is None or not os.path.exists(job.checkpoint):
        return policy, 0
    with np.load(job.checkpoint) as saved:
        policy.own, policy.shared = saved["own"], saved["shared"]
        return policy, int(saved["step"])


def save(job: Job, policy, step: int) -> None:
    if job.checkpoint is None:
        return
    with open(job.checkpoint + ".tmp", "wb") as file:
        np.savez(file, own=policy.own, shared=policy.shared, step=step)
        os.fsync(file.fileno())
    os.replace(job.checkpoint + ".tmp", job.checkpoint)
    say("saved", step)


def steps_of(job: Job, policy, start: int) -> Iterator[tuple[int, dict[str, float], list[dict]]]:
    """The steps to train; ``rush`` of them are ready before the first is recorded, so that writing lags."""
    trained = itertools.islice(training(policy, start), job.steps - start)
    yield from list(itertools.islice(trained, job.rush))
    yield from trained


def train(recorder: el.Recorder, job: Job) -> None:
    policy, start = restore(job)
    steps = steps_of(job, policy, start)
    say("start", start)
    for step, values, records in steps:
        record_step(recorder, step, values, records, job)
        recorder.end_step(step)
        say("ended", step)
        if (step + 1) % job.flush_every == 0:
            if job.flush_before_saving:
                recorder.flush()
                say("flushed", step)
            save(job, policy, step + 1)


class ShiftedClock(datetime):
    offset = timedelta()

    @classmethod
    def now(cls, zone=None) -> datetime:
        return datetime.now(zone) + cls.offset


def prepare(job: Job) -> None:
    """Put the process into the conditions of the fault."""
    if job.die_at is not None:
        die_at(job.die_at, job.path)
    if job.die_at_size is not None:
        die_when_a_file_reaches(job.die_at_size)
    if job.exit_on_sigterm:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if job.clock_offset:
        ShiftedClock.offset = timedelta(seconds=job.clock_offset)
        run_info.datetime = ShiftedClock
    if job.file_size_limit is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (job.file_size_limit, resource.RLIM_INFINITY))
    if job.uid is not None:
        el.Recorder  # noqa: B018  load it while the interpreter's files may still be read
        os.setgroups([])
        os.setgid(job.uid)
        os.setuid(job.uid)


def main(job: Job) -> int:
    prepare(job)
    say("ready")
    try:
        arguments = {"config": CONFIG, "method": "clip_cov", **(job.arguments or {})}
        if job.no_tokens:
            arguments["token_sampling"] = el.TokenSampling(response_fraction=1e-9)
        with el.Recorder(job.path, rank=job.rank, world_size=job.world_size, **arguments) as recorder:
            say("open", recorder.attempt)
            train(recorder, job)
            if job.stay:
                say("waiting")
                signal.pause()
    except el.EntropylabError as error:
        say("error", type(error).__name__, str(error).replace("\n", " "))
        return 3
    say("closed")
    return 0


if __name__ == "__main__":
    sys.exit(main(Job(**json.loads(sys.argv[1]))))
