"""Clocks that jump or differ between machines: times shown may be odd, the history is not."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

import pandas as pd
import pytest
from fault_checks import rows
from fault_process import run_to_end
from fault_trials import marked

import entropylab as el

STEPS = 6
OFFSETS = [-300, 300, -86_400, 86_400 * 400, -3_600 * 24 * 365 * 40]


def ranks_with_clocks(path, offsets) -> None:
    for rank, offset in enumerate(offsets):
        checkpoint = str(path.parent / f"{rank}.npz")
        size = {"rank": rank, "world_size": len(offsets), "flush_every": 4, "checkpoint": checkpoint}
        run_to_end(path, steps=STEPS, clock_offset=offset, **size)


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    path = tmp_path_factory.mktemp("clock") / "r"
    ranks_with_clocks(path, [0, 0])
    run = el.open_run(path)
    assert run.problems() == []
    return run.steps(), rows(run.tokens())


def check(path, expected) -> el.Run:
    run = el.open_run(path)
    frame = run.steps()
    pd.testing.assert_frame_equal(
        frame.drop(columns="recorded_at"), expected[0].drop(columns="recorded_at"), check_exact=True
    )
    assert rows(run.tokens()).equals(expected[1])
    return run


@pytest.mark.long
@pytest.mark.parametrize("offset", marked(OFFSETS, 1))
def test_two_machines_whose_clocks_differ(offset, fast, expected, outcome):
    ranks_with_clocks(fast / "r", [0, offset])
    assert check(fast / "r", expected).problems() == []
    outcome("clocks of two machines differ", sees="nothing")


@pytest.mark.parametrize("offset", marked(OFFSETS, 1))
def test_the_clock_jumps_between_two_attempts(offset, fast, reference, outcome):
    checkpoint = str(fast / "c.npz")
    run_to_end(fast / "r", steps=8, checkpoint=checkpoint, flush_every=5)
    run_to_end(fast / "r", steps=12, checkpoint=checkpoint, flush_every=5, clock_offset=offset)
    run = el.open_run(fast / "r")
    reference.check_steps(run, 12)
    reference.check_evaluations(run, 12)
    assert {p.kind for p in run.problems()} == {"superseded"}
    outcome("the clock jumps at a restart", sees="the later attempt's history; problems: superseded")


@pytest.mark.parametrize("offset", marked(OFFSETS, 0))
def test_a_restart_of_two_ranks_on_machines_whose_clocks_differ(offset, fast, expected, outcome):
    """Both are restarted at step 4; what the first attempts wrote from there on is superseded, no more."""
    for _attempt in range(2):
        ranks_with_clocks(fast / "r", [0, offset])
    run = check(fast / "r", expected)
    assert {p.kind for p in run.problems()} == {"superseded"}
    outcome("restart of two ranks, clocks differ", sees="the later history; problems: superseded")


@pytest.mark.parametrize("offset", marked(OFFSETS, 1))
def test_one_rank_alone_is_restarted_late(offset, fast, batch_of_ranks):
    """Rank 0 went back to step 2 and rank 1 never did: its old rows from step 2 on are of another history."""
    path = fast / "r"
    batch_of_ranks(path, 0, range(4), 0.0)
    batch_of_ranks(path, 1, range(4), offset)
    batch_of_ranks(path, 0, range(2, 4), 0.0)
    assert el.open_run(path).whole_steps() == [0, 1]
    batch_of_ranks(path, 1, range(2, 4), offset)
    assert el.open_run(path).whole_steps() == [0, 1, 2, 3]


@pytest.fixture
def batch_of_ranks(monkeypatch):
    """Record a few steps of a rank, in this process, with a clock that is off."""
    from datetime import timedelta

    import numpy as np
    from fault_trainer import ShiftedClock

    from entropylab.record import run_info

    values = {"logprobs": -np.ones((2, 3)), "advantages": np.array([1.0, -1.0]), "mask": np.ones((2, 3))}

    def write(path, rank, steps, offset):
        monkeypatch.setattr(ShiftedClock, "offset", timedelta(seconds=offset))
        monkeypatch.setattr(run_info, "datetime", ShiftedClock)
        with el.Recorder(path, rank=rank, world_size=2) as recorder:
            for step in steps:
                recorder.record(step, **values)

    return write


@pytest.mark.faults
def test_the_real_system_calls_tell_another_time(fast, reference):
    """libfaketime beneath the interpreter: also files and threads see the clock run backwards."""
    pytest.importorskip("libfaketime")
    folder = Path(importlib.util.find_spec("libfaketime").origin).parent
    library = next(folder.rglob("libfaketime.so*"))
    job = {"checkpoint": str(fast / "c.npz"), "flush_every": 5}
    for steps, offset in ((8, "+0"), (12, "-3d"), (16, "+9d"), (20, "-1y x0.5")):
        environment = {"LD_PRELOAD": str(library), "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}
        run_to_end(fast / "r", steps=steps, env={**os.environ, **environment}, **job)
    run = el.open_run(fast / "r")
    reference.check_steps(run, 20)
    years = sorted({t.year for t in run.steps()["recorded_at"]})
    assert len(years) > 1, "the clock was not shifted"
