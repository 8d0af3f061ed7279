"""Evaluations and problems are kept while the files are the same; a frozen run stays as it was."""

from __future__ import annotations

import pytest

import entropylab as el
from entropylab.record import summary_cache
from entropylab.record.snapshot import SnapshotReader

CACHE = "cache/records.json"


@pytest.fixture
def run(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(summary_cache, "MIN_AGE", 0.0)
    made = make_run(tmp_path / "r", steps=4, prompts=6, group=4)
    (made.path / "markers/step-000002/rank-0000-a1.json").write_text("{}")
    return made


def look(path) -> tuple[list[dict], list]:
    run = el.open_run(path)
    return run.evaluations().to_dict("records"), run.problems(rows=False)


def healthy(make_run, path):
    return make_run(path, steps=4, prompts=6, group=4)


def test_no_file_is_parsed_again(make_run, tmp_path, monkeypatch):
    path = healthy(make_run, tmp_path / "h").path
    first = look(path), el.open_run(path).problems(rows=False)
    assert (path / CACHE).is_file()

    def parses(*_):
        raise AssertionError("a file was parsed")

    monkeypatch.setattr(SnapshotReader, "_parse", parses)
    assert (look(path), el.open_run(path).problems(rows=False)) == first


def test_what_cannot_be_read_is_looked_at_each_time(run):
    _, problems = look(run.path)
    assert "unreadable_file" in {p.kind for p in problems}
    assert not (run.path / CACHE).exists()


def test_a_new_evaluation_a_new_stray_and_a_damaged_cache_are_seen(make_run, tmp_path, monkeypatch):
    monkeypatch.setattr(summary_cache, "MIN_AGE", 0.0)
    path = healthy(make_run, tmp_path / "h").path
    before, none = look(path)
    assert none == []
    with el.Recorder(path) as recorder:
        recorder.evaluate(9, metric="accuracy", value=0.5, n=10)
    after, _ = look(path)
    assert len(after) == len(before) + 1
    (path / "tokens/stray.bin").touch()
    assert [p.kind for p in look(path)[1]] == ["foreign_file"]
    text = (path / CACHE).read_text()
    (path / CACHE).write_text(text.replace("0.5", "0.6"))
    assert look(path)[0] == after


def test_an_open_recorder_is_not_cached(make_run, tmp_path, batch):
    path = healthy(make_run, tmp_path / "h").path
    with el.Recorder(path) as recorder:
        recorder.record(4, **batch(4))
        recorder.flush()
        look(path)
        assert not (path / CACHE).exists()
    look(path)
    assert (path / CACHE).exists()


def test_a_frozen_run_stays_as_it_was(make_run, tmp_path, batch):
    run = healthy(make_run, tmp_path / "h")
    still = el.open_run(run.path).frozen()
    with el.Recorder(run.path) as recorder:
        recorder.record(4, **batch(4))
        recorder.evaluate(4, metric="accuracy", value=0.5, n=10)
    assert still.whole_steps() == [0, 1, 2, 3]
    assert 4 not in set(still.evaluations().query("metric == 'accuracy' and value == .5")["step"])
    assert el.open_run(run.path).whole_steps() == [0, 1, 2, 3, 4]
