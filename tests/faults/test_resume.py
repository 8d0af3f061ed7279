"""Killed and resumed from checkpoints again and again: the history equals that of an uninterrupted run."""

from __future__ import annotations

import random
import time

import pytest
from fault_process import Trainer, run_to_end
from fault_trials import trials

import entropylab as el

STEPS = 40


def kill_once(path, draw: random.Random, **job):
    with Trainer(path, steps=STEPS, **job) as trainer:
        trainer.wait_for("start")
        time.sleep(draw.uniform(0.0, 0.15))
        return trainer.end()


@pytest.mark.parametrize("seed", trials(1, 30))
def test_a_storm_of_kills_and_resumes(seed, fast, reference, outcome, request):
    kills = 5 if "faults" in request.config.option.markexpr else 2
    draw = random.Random(seed)
    path, job = (
        fast / "r",
        {"checkpoint": str(fast / "checkpoint.npz"), "flush_every": draw.choice([1, 3, 7])},
    )
    for _ in range(kills):
        promises = kill_once(
            path, draw, **job
        )  # what it repeats supersedes what was there, so it may be less
        run = el.open_run(path)
        reference.check_steps(run, len(run.whole_steps()))
        assert len(run.whole_steps()) >= promises.steps
    last = run_to_end(path, steps=STEPS, **job)
    run = el.open_run(path)
    reference.check_steps(run, STEPS)
    reference.check_evaluations(run, STEPS)
    assert last.attempt == run.info["attempts"][-1]["attempt"] == len(run.info["attempts"])
    problems = run.problems()
    assert {p.kind for p in problems} <= {"superseded", "incomplete_step", "temporary_file"}, problems
    outcome("kill and resume", sees="the uninterrupted history; problems: superseded", trials=kills)


@pytest.mark.parametrize("seed", trials(0, 20))
def test_a_checkpoint_that_was_saved_without_flush_leaves_a_hole_that_is_told(seed, fast, reference, outcome):
    """end_step(s) does not promise s itself; a trainer that goes on from s + 1 may lack s, and reads so."""
    draw = random.Random(seed)
    path = fast / "r"
    job = {"checkpoint": str(fast / "c.npz"), "flush_every": 1, "flush_before_saving": False}
    kill_once(path, draw, **job)
    run_to_end(path, steps=STEPS, **job)
    run = el.open_run(path)
    missing = sorted(set(range(STEPS)) - set(run.whole_steps()))
    assert len(missing) <= 1
    told = [p for p in run.problems() if p.kind in ("interrupted", "missing_steps")]
    assert bool(told) == bool(missing), (missing, run.problems())
    frame = run.steps()
    expected = reference.steps[reference.steps["step"].isin(run.whole_steps())]
    assert frame["n_tokens"].tolist() == expected["n_tokens"].tolist()
    sees = "at most one step missing, told as interrupted"
    outcome("resume from a checkpoint saved without flush", sees=sees)


@pytest.mark.long
def test_the_later_attempt_wins_from_its_first_step(fast, reference):
    """Attempts that differ are never mixed: below the restart the first, from it on the second."""
    path, checkpoint = fast / "r", str(fast / "c.npz")
    run_to_end(path, steps=8, checkpoint=checkpoint, flush_every=5)
    first = el.open_run(path).steps()
    run_to_end(path, steps=12, checkpoint=checkpoint, flush_every=5)
    frame = el.open_run(path).steps()
    assert (frame["recorded_at"].iloc[:5] == first["recorded_at"].iloc[:5]).all()
    assert (frame["recorded_at"].iloc[5:8].to_numpy() > first["recorded_at"].iloc[5:8].to_numpy()).all()
    reference.check_steps(el.open_run(path), 12)
