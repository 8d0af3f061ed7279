"""A killed process loses at most the step under way and the one before; the reader says what happened."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

import entropylab as el

CHILD = """
import sys, numpy as np, entropylab as el
rng = np.random.default_rng(0)
recorder = el.Recorder(sys.argv[1])
for step in range(int(sys.argv[2]), 100000):
    for update in range(2):
        shape = (64, 50)
        logprobs = -rng.exponential(size=shape)
        recorder.record(step, logprobs=logprobs, advantages=rng.normal(size=64), mask=np.ones(shape, bool),
                        entropy=-logprobs, rewards=rng.integers(0, 2, 64), update=update)
    recorder.end_step(step)
    print(step, flush=True)
"""


def run_and_kill(path, start: int, seconds: float) -> int:
    """Run a real trainer, kill it with SIGKILL; the last step whose end_step had returned."""
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, str(path), str(start)], stdout=subprocess.PIPE, text=True
    )
    first = child.stdout.readline()
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    lines = [first, *child.stdout.read().splitlines()]
    child.wait()
    return int(lines[-1])


def check_promise(path, last: int) -> None:
    """Every step before the last end_step that returned is there, whole, with all its rows."""
    run = el.open_run(path)
    steps = run.steps()["step"].tolist()
    assert set(range(last)) <= set(steps)
    assert steps == list(range(len(steps)))
    assert sum(b.num_rows for b in run.tokens()) == len(steps) * 2 * 64 * 50
    kinds = {p.kind for p in run.problems()}
    assert "interrupted" in kinds
    assert kinds <= {"interrupted", "incomplete_step", "temporary_file", "superseded"}
    (message,) = (p.message for p in run.problems() if p.kind == "interrupted")
    assert (f"its last whole step is {steps[-1]}" if steps else "it finished no step") in message


@pytest.mark.quick("0")
@pytest.mark.slow
@pytest.mark.parametrize("trial", range(4))
def test_killed_at_a_random_moment(tmp_path, trial):
    last = run_and_kill(tmp_path / "r", 0, random.Random(trial).uniform(0.0, 0.7))
    check_promise(tmp_path / "r", last)


@pytest.mark.slow
def test_killed_twice_and_restarted(tmp_path):
    first = run_and_kill(tmp_path / "r", 0, 0.5)
    restart = max(0, first - 3)
    second = run_and_kill(tmp_path / "r", restart, 0.5)
    assert second > restart
    check_promise(tmp_path / "r", second)
    with el.Recorder(tmp_path / "r") as recorder:
        assert recorder.attempt == 3


def train_and_fail(path, batch, error: Exception) -> None:
    with el.Recorder(path) as recorder:
        recorder.record(0, **batch(0))
        recorder.record(1, **batch(1))
        raise error


def test_an_error_in_the_training_loop_drops_the_step_under_way_and_tells(tmp_path, batch):
    with pytest.raises(ZeroDivisionError):
        train_and_fail(tmp_path / "r", batch, ZeroDivisionError("boom"))
    run = el.open_run(tmp_path / "r")
    assert run.steps()["step"].tolist() == [0]
    (problem,) = run.problems()
    assert problem.kind == "interrupted"
    assert "ZeroDivisionError: boom" in problem.message
    assert "step 1" in problem.message


@pytest.mark.parametrize(
    ("ending", "kept"), [("", [0]), ("raise SystemExit(3)", [0]), ("recorder.close()", [0, 1])]
)
def test_the_end_of_the_interpreter_without_close(tmp_path, ending, kept):
    code = f"""
import sys, numpy as np, entropylab as el
recorder = el.Recorder(sys.argv[1])
x = dict(logprobs=-np.ones((2, 3)), advantages=np.ones(2), mask=np.ones((2, 3)))
recorder.record(0, **x)
recorder.record(1, **x)
{ending}
"""
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "r")], check=False, timeout=60)
    run = el.open_run(tmp_path / "r")
    assert run.steps()["step"].tolist() == kept
    assert [p.kind for p in run.problems()] == ([] if len(kept) == 2 else ["interrupted"])


def test_a_run_under_way_in_this_process_is_no_problem(tmp_path, batch):
    recorder = el.Recorder(tmp_path / "r")
    recorder.record(0, **batch(0))
    recorder.record(1, **batch(1))
    recorder.flush()
    run = el.open_run(tmp_path / "r")
    assert run.problems() == []
    assert run.steps()["step"].tolist() == [0, 1]
    recorder.record(2, **batch(2))
    recorder.close()
    assert run.steps()["step"].tolist() == [0, 1, 2]
    assert not list((tmp_path / "r/markers").glob("open-*"))


def test_a_restart_does_not_inherit_the_interruption_of_the_attempt_before(tmp_path, batch):
    with pytest.raises(ValueError, match="x"):
        train_and_fail(tmp_path / "r", batch, ValueError("x"))
    with el.Recorder(tmp_path / "r") as recorder:
        assert recorder.attempt == 2
        recorder.record(1, **batch(1))
    run = el.open_run(tmp_path / "r")
    assert run.steps()["step"].tolist() == [0, 1]
    assert run.problems() == []


def test_a_temporary_file_is_named_and_never_read(tmp_path, batch):
    with el.Recorder(tmp_path / "r") as recorder:
        recorder.record(0, **batch(0))
    for name in ("tokens/step-000000/.rank-0000-a1.parquet.77.tmp", "._run.json.77.tmp"):
        (tmp_path / "r" / name).write_bytes(b"half a fi")
    run = el.open_run(tmp_path / "r")
    assert [(p.kind, p.path) for p in run.problems()] == [
        ("temporary_file", "._run.json.77.tmp"),
        ("temporary_file", "tokens/step-000000/.rank-0000-a1.parquet.77.tmp"),
    ]
    assert len(run.steps()) == 1
    assert sum(b.num_rows for b in run.tokens()) == batch(0)["mask"].sum()
    assert os.listdir(tmp_path / "r/tokens/step-000000")
