"""SIGKILL at random moments: nothing `end_step` or `flush` promised is lost, all that is read is right."""

from __future__ import annotations

import random
import time
from dataclasses import replace

import pytest
from fault_checks import check_kept
from fault_process import Trainer, run_to_end
from fault_trials import trials

import entropylab as el


def wait(trainer: Trainer, draw: random.Random) -> None:
    """Until a random moment: while the recorder opens, within its first step, or while it trains."""
    kind = draw.choices(["opening", "first", "training"], [1, 2, 7])[0]
    trainer.wait_for({"opening": "ready", "first": "start", "training": "ended"}[kind])
    time.sleep(draw.uniform(0.0, {"opening": 0.01, "first": 0.02, "training": 0.6}[kind]))


@pytest.mark.parametrize("seed", trials(3, 200))
def test_killed_while_training(seed, fast, tmp_path, reference, outcome):
    draw = random.Random(seed)
    path = (fast if seed % 2 else tmp_path) / "r"
    rush = draw.choice([0, reference.length])  # without evaluations, so that the queue holds steps alone
    job = {"flush_every": draw.choice([1, 4, 1000]), "rush": rush, "evaluation_copies": int(not rush)}
    with Trainer(path, steps=reference.length, **job) as trainer:
        wait(trainer, draw)
        promises = trainer.end()
    if rush:
        promises = replace(promises, evaluated=0)
    if promises.attempt is None and not (path / "_run.json").exists():
        outcome("SIGKILL while training", sees="no run yet: RunNotFoundError")
        with pytest.raises(el.EntropylabError, match=r"no such folder|no run here"):
            el.open_run(path)
        return
    kept = check_kept(path, promises, reference)
    outcome(
        "SIGKILL while training", sees="a whole prefix; problems: interrupted, incomplete_step, temporary"
    )
    with el.Recorder(path) as recorder:
        assert recorder.attempt == (promises.attempt or 1) + 1 or promises.attempt is None
    assert len(el.open_run(path).whole_steps()) == kept


@pytest.mark.parametrize("seed", trials(1, 60))
def test_killed_while_evaluating(seed, fast, reference, outcome):
    """Most of the time goes into evaluations: 120 files a step."""
    draw = random.Random(seed)
    with Trainer(fast / "r", steps=reference.length, flush_every=1, evaluation_copies=40) as trainer:
        trainer.wait_for("open")
        time.sleep(draw.uniform(0.0, 0.5))
        promises = trainer.end()
    run = el.open_run(fast / "r")
    frame = run.evaluations()
    assert (frame[frame["step"] < promises.evaluated].groupby("step").size() == 120).all()
    assert set(range(promises.evaluated)) <= set(frame["step"])
    plain = frame["metric"].str.replace(r"/\d+$", "", regex=True)
    expected = reference.evaluations.set_index(["step", "metric"])["value"]
    assert (expected.loc[list(zip(frame["step"], plain, strict=True))].to_numpy() == frame["value"]).all()
    reference.check_steps(run, len(run.whole_steps()))
    assert {p.kind for p in run.problems()} <= {"interrupted", "incomplete_step", "temporary_file"}
    outcome("SIGKILL while evaluating", sees="every flushed evaluation; problems: interrupted")


@pytest.mark.parametrize("seed", trials(1, 20))
def test_a_reader_that_looks_on_while_the_process_is_killed(seed, fast, reference, outcome):
    """Every look gives a longer prefix, never an error or a problem of a live run."""
    draw = random.Random(seed)
    with Trainer(fast / "r", steps=reference.length) as trainer:
        trainer.wait_for("open")
        run, before = el.open_run(fast / "r"), 0
        end = time.monotonic() + draw.uniform(0.2, 1.0)
        while time.monotonic() < end and trainer.process.poll() is None:
            steps = run.whole_steps()
            assert steps == list(range(len(steps)))
            assert len(steps) >= before
            before = len(steps)
            reference.check_evaluations(run, 0)
            assert {p.kind for p in run.problems()} <= {"incomplete_step", "temporary_file"}
        promises = trainer.end()
    check_kept(fast / "r", promises, reference)
    outcome("a reader beside the writer, then SIGKILL", sees="a growing prefix, no error")


@pytest.mark.long
def test_without_a_fault(fast, reference):
    promises = run_to_end(fast / "r", steps=12)
    assert promises.steps == promises.evaluated == 12
    assert check_kept(fast / "r", promises, reference) == 12
    assert el.open_run(fast / "r").problems() == []
