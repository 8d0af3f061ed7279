"""The influence of tokens comes every so many steps, within a share of the time."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.errors import InvalidInputError
from entropylab.record import influence_schedule
from entropylab.record.influence_schedule import InfluenceSchedule


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(time=0.0)
    monkeypatch.setattr(influence_schedule.time, "perf_counter", lambda: now.time)
    return now


def test_every_so_many_steps(clock):
    schedule = InfluenceSchedule(5, 1.0)
    assert [step for step in range(12) if schedule.wants(step)] == [0, 5, 10]


def test_the_share_bounds_the_time(clock):
    schedule, spent = InfluenceSchedule(1, 0.1), 0.0
    for step in range(1000):
        clock.time += 1.0
        if schedule.wants(step):
            schedule.spent(4.0)
            clock.time += 4.0
            spent += 4.0
    assert 0.08 < spent / clock.time <= 0.1 + 4 / clock.time


def test_a_recorder_takes_what_token_influence_gives(tmp_path):
    mask = np.ones((2, 3), bool)
    given = {"logprobs": -np.ones((2, 3)), "advantages": np.ones(2), "mask": mask}
    metrics = {"entropylab/influence/error": 1e-9, "entropylab/influence/cost": 2.5}
    made = SimpleNamespace(tokens=np.full((2, 3), 0.25), seconds=0.5, metrics=metrics)
    with el.Recorder(tmp_path / "r", influence_every=2, influence_share=1.0) as recorder:
        for step in range(3):
            wanted = recorder.wants_influence(step)
            recorder.record(step, **given, influence=made if wanted else None, metrics={"lr": 1.0})
    run = el.open_run(tmp_path / "r")
    table = pa.Table.from_batches(list(run.tokens(columns=["step", "influence"]))).to_pandas()
    assert table.groupby("step")["influence"].first().isna().tolist()[0] is False
    assert set(run.steps().columns) >= {"metrics/lr", "metrics/entropylab/influence/cost"}
    assert not el.Recorder(tmp_path / "q").wants_influence(0)


@pytest.mark.parametrize("change", [{"influence_every": 0}, {"influence_every": 2, "influence_share": 0.0}])
def test_wrong_settings_are_named_before_anything_is_written(tmp_path, change):
    with pytest.raises(InvalidInputError, match="influence_"):
        el.Recorder(tmp_path / "r", **change)
    assert not (tmp_path / "r").exists()
