"""Two processes claim one rank: the second is told who holds it; a dead owner holds nobody up."""

from __future__ import annotations

import os
import signal

import pytest
from fault_process import Promises, Trainer, run_to_end
from fault_trials import trials

import entropylab as el
from entropylab.errors import RecorderError


def test_a_second_process_is_refused_and_told_who_holds_the_rank(fast, reference, outcome):
    with Trainer(fast / "r", steps=4, stay=True) as owner:
        owner.wait_for("waiting")
        with Trainer(fast / "r", steps=4) as second:
            refused = second.end(None)
        assert refused.error is not None
        assert refused.error.startswith("RecorderError")
        for part in (str(owner.process.pid), "rank 0", str(fast / "r")):
            assert part in refused.error, refused.error
        with pytest.raises(RecorderError, match=str(owner.process.pid)):
            el.Recorder(fast / "r")
        owner.end()
    run = el.open_run(fast / "r")
    reference.check_steps(run, 4)
    assert len(run.info["attempts"]) == 1
    outcome("two processes, one rank", sees="RecorderError naming the owner's process")


@pytest.mark.long
def test_another_rank_is_let_in(fast):
    with Trainer(fast / "r", steps=4, world_size=2, stay=True) as owner:
        owner.wait_for("waiting")
        assert run_to_end(fast / "r", steps=4, world_size=2, rank=1).attempt == 1
    assert el.open_run(fast / "r").whole_steps() == [0, 1, 2, 3]


@pytest.mark.long
def test_the_lock_of_a_dead_process_is_taken_over(fast, reference, outcome):
    with Trainer(fast / "r", steps=4, stay=True) as owner:
        owner.wait_for("waiting")
        owner.end()
    assert run_to_end(fast / "r", steps=6).attempt == 2
    reference.check_steps(el.open_run(fast / "r"), 6)
    outcome("stale lock of a dead process", sees="nothing: the next recorder goes on")


def test_a_stopped_owner_is_alive(fast):
    with Trainer(fast / "r", steps=4, stay=True) as owner:
        owner.wait_for("waiting")
        owner.stop()
        with pytest.raises(RecorderError, match=str(owner.process.pid)):
            el.Recorder(fast / "r")
        owner.send(signal.SIGCONT)


def test_a_recorder_of_this_process_that_is_still_open_is_an_owner_too(fast):
    first = el.Recorder(fast / "r")
    with pytest.raises(RecorderError, match=str(os.getpid())):
        el.Recorder(fast / "r")
    first.close()
    el.Recorder(fast / "r").close()


def test_a_forked_child_does_not_let_go_of_its_parents_lock(fast):
    recorder = el.Recorder(fast / "r")
    child = os.fork()
    if child == 0:
        del recorder
        os._exit(0)
    os.waitpid(child, 0)
    with Trainer(fast / "r", steps=2) as second:
        assert second.end(None).error is not None
    recorder.close()


@pytest.mark.long
@pytest.mark.parametrize("seed", trials(1, 15))
def test_of_several_that_start_at_once_one_gets_in(seed, fast, reference, outcome):
    trainers = [Trainer(fast / "r", steps=3, flush_every=1, stay=True) for _ in range(4)]
    ended: list[Promises] = []
    try:
        for trainer in trainers:
            words = [line.split()[0] for line in _until_settled(trainer)]
            ended.append(Promises.of(trainer.lines))
            assert words[-1] in ("waiting", "error")
        assert sum(p.attempt is not None for p in ended) == 1, [p.error for p in ended]
    finally:
        for trainer in trainers:
            trainer.__exit__()
    reference.check_steps(el.open_run(fast / "r"), 3)
    outcome("four processes at once, one rank", sees="one is let in, three RecorderErrors")


def _until_settled(trainer: Trainer) -> list[str]:
    for line in trainer.process.stdout:
        trainer.lines.append(line.rstrip("\n"))
        if line.split()[0] in ("waiting", "error", "closed"):
            break
    return trainer.lines
