"""Summaries come from the cache while their files are the same, and are then the same to the last bit."""

from __future__ import annotations

import os
import shutil

import pandas as pd
import pytest

import entropylab as el
from entropylab.record import summary_cache
from entropylab.record.compaction import compact_run
from entropylab.record.snapshot import SnapshotReader

CACHE = "cache/summary-step.parquet"


@pytest.fixture(params=[pytest.param(1, marks=pytest.mark.long), 2])
def run(request, make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(summary_cache, "MIN_STEPS", 1)
    monkeypatch.setattr(summary_cache, "MIN_AGE", 0.0)
    return make_run(tmp_path / "r", steps=4, prompts=6, group=4, world_size=request.param)


def look(path) -> dict[str, object]:
    run = el.open_run(path)
    return {
        "steps": run.steps(),
        "updates": run.steps(by="update"),
        "evaluations": run.evaluations(),
        "whole": run.whole_steps(),
        "tokens": run.token_steps(),
    }


def check_same(left, right) -> None:
    for name, value in left.items():
        if isinstance(value, pd.DataFrame):
            pd.testing.assert_frame_equal(value, right[name], check_exact=True)
        else:
            assert value == right[name]


@pytest.mark.parametrize("compacted", [False, True])
def test_the_same_to_the_last_bit_and_no_marker_is_read(run, monkeypatch, compacted):
    if compacted:
        compact_run(run.path)
    shutil.rmtree(run.path / "cache", ignore_errors=True)
    first = look(run.path)
    assert (run.path / CACHE).is_file()

    def reads(*_):
        raise AssertionError("a marker was read")

    monkeypatch.setattr(SnapshotReader, "take", reads)
    check_same(first, look(run.path))


def test_a_frame_that_is_changed_by_its_user_changes_nothing(run):
    frame = run.steps()
    frame["step"] = 7
    run.token_steps().clear()
    assert run.steps()["step"].tolist() == [0, 1, 2, 3]
    assert run.token_steps() == [0, 1, 2, 3]


def test_a_run_that_grows(make_run, run, batch):
    look(run.path)
    world = run.info["world_size"]
    for rank in range(world):
        with el.Recorder(run.path, rank=rank, world_size=world) as recorder:
            for step in (3, 4):
                recorder.record(step, **batch(step))
    found = look(run.path)
    assert found["whole"] == [0, 1, 2, 3, 4]
    shutil.rmtree(run.path / "cache")
    check_same(found, look(run.path))
    assert run.steps()["step"].tolist() == [0, 1, 2, 3, 4]


def test_a_changed_marker_or_a_missing_one_counts_at_once(run):
    look(run.path)
    marker = next((run.path / "markers/step-000003").glob("*.json"))
    data = marker.read_bytes()
    marker.write_bytes(data[:-20])
    assert look(run.path)["whole"] == [0, 1, 2]
    marker.write_bytes(data)
    assert look(run.path)["whole"] == [0, 1, 2, 3]
    marker.unlink()
    assert look(run.path)["whole"] == [0, 1, 2]


@pytest.mark.parametrize("damage", [b"", b"PAR1 not really", None])
def test_a_damaged_cache_is_computed_again(run, damage):
    first = look(run.path)
    path = run.path / CACHE
    path.write_bytes(path.read_bytes()[:-100] if damage is None else damage)
    check_same(first, look(run.path))


def test_without_the_right_to_write(run, monkeypatch):
    first = look(run.path)
    shutil.rmtree(run.path / "cache")

    def refuses(*_):
        raise PermissionError("read-only")

    monkeypatch.setattr(summary_cache, "write_parquet", refuses)
    check_same(first, look(run.path))
    assert not (run.path / CACHE).exists()


def test_a_run_under_way_is_not_written_at_every_look(run, monkeypatch):
    monkeypatch.setattr(summary_cache, "MIN_AGE", 60.0)
    look(run.path)
    stamp = os.stat(run.path / CACHE).st_mtime_ns
    next((run.path / "markers/step-000003").glob("*.json")).touch()
    check_same(look(run.path), look(run.path))
    assert os.stat(run.path / CACHE).st_mtime_ns == stamp
