"""Where the app looks for runs, and when it reads them again."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import run_finder
from kept_run import KeptRun, folder_stamp
from run_finder import discover, roots


@pytest.fixture(autouse=True)
def _fresh_walks() -> None:
    run_finder._folders.clear()


def test_the_environment_names_the_roots(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("ENTROPYLAB_PATHS", f"{tmp_path}{os.pathsep}/other")
    assert roots() == [str(tmp_path), "/other"]


def test_without_it_runs_of_the_current_folder_come_first(monkeypatch, tmp_path, make_run) -> None:
    monkeypatch.delenv("ENTROPYLAB_PATHS", raising=False)
    monkeypatch.chdir(tmp_path)
    make_run(tmp_path / "sample_logs" / "x", steps=1)
    assert "runs" not in roots()
    run_finder._folders.clear()
    make_run(tmp_path / "runs" / "x", steps=1)
    assert roots() == ["runs"]


def test_runs_are_named_by_their_place_below_the_root(monkeypatch, runs) -> None:
    monkeypatch.setenv("ENTROPYLAB_PATHS", str(runs))
    found = discover().entries
    assert [(e.group, e.slug, e.method, e.n_steps) for e in found][:3] == [
        ("other", "other/baseline-s0", "baseline", 5),
        ("start-a", "start-a/baseline-s0", "baseline", 14),
        ("start-a", "start-a/baseline-s1", "baseline", 14),
    ]


def test_a_run_may_itself_be_the_root(monkeypatch, runs) -> None:
    monkeypatch.setenv("ENTROPYLAB_PATHS", str(runs / "other" / "baseline-s0"))
    (entry,) = discover().entries
    assert (entry.group, entry.slug) == ("other", "baseline-s0")


def test_equal_places_below_two_roots_are_told_apart(monkeypatch, tmp_path, make_run) -> None:
    for root in ("one", "two"):
        make_run(tmp_path / root / "x", steps=1)
    monkeypatch.setenv("ENTROPYLAB_PATHS", os.pathsep.join(str(tmp_path / root) for root in ("one", "two")))
    assert [e.slug for e in discover().entries] == [str(tmp_path / root / "x") for root in ("one", "two")]


def test_a_kept_run_is_read_again_once_its_folder_changes(tmp_path, make_run) -> None:
    make_run(tmp_path / "x", steps=2)
    run = KeptRun(str(tmp_path / "x"))
    first = run.steps()
    first["step"] = -1
    assert run.steps()["step"].tolist() == [0, 1]
    stamp = folder_stamp(Path(run.path))
    for file in (tmp_path / "x" / "markers" / "step-000001").iterdir():
        file.unlink()
    os.utime(tmp_path / "x" / "markers" / "step-000001", (stamp + 5, stamp + 5))
    assert run.steps()["step"].tolist() == [0]
