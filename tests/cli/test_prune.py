"""``entropylab prune``: says first what would go, and does it only with --yes."""

from __future__ import annotations

import json

import pandas as pd
import pytest
from typer.testing import CliRunner

import entropylab as el
from entropylab.cli.main import app


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def folder(make_run, tmp_path):
    for name, ranks in (("one", 1), ("two", 2)):
        make_run(tmp_path / "runs" / name, steps=5, prompts=6, group=4, updates=1, world_size=ranks)
    return tmp_path / "runs"


def test_a_dry_run_says_what_would_go_and_yes_does_it(folder):
    before = [r.steps() for r in el.open_runs(folder)]
    done = run("prune", folder, "--keep-every", 2)
    assert done.exit_code == 0
    assert "one: 2 steps" in done.stdout
    assert "Nothing was deleted. --yes does it" in done.stdout
    plan = json.loads(run("prune", folder, "--keep-every", 2, "--json").stdout)["runs"]
    assert [r.token_steps() for r in el.open_runs(folder)] == [[0, 1, 2, 3, 4]] * 2
    done = json.loads(run("prune", folder, "--keep-every", 2, "--keep-summaries", "--yes", "--json").stdout)
    assert done["command"] == "prune"
    assert [{**row, "done": False} for row in done["runs"]] == plan
    assert {(r["steps_pruned"], r["steps_kept"], r["responses"], r["done"]) for r in done["runs"]} == {
        (2, 3, 0, True)
    }
    assert all(row["bytes"] > 0 and row["files"] > 0 and row["rows"] > 0 for row in done["runs"])
    for old, new in zip(before, el.open_runs(folder), strict=True):
        pd.testing.assert_frame_equal(old, new.steps(), check_exact=True)
        assert new.token_steps() == [0, 2, 4]
    assert "0 steps, 0 token rows" in run("prune", folder, "--keep-every", 2, "--responses").stdout
    found = run("doctor", folder)
    assert "one: token rows of 2 steps were pruned, summaries kept" in found.stdout
    assert [r["pruned_steps"] for r in json.loads(run("doctor", folder, "--json").stdout)["runs"]] == [2, 2]


@pytest.mark.parametrize("wrong", [("--keep-every", 0), ("--keep-every", "-3"), ("--keep-every", "few"), ()])
def test_a_wrong_or_missing_number_is_wrong_use(folder, wrong):
    done = run("prune", folder, *wrong)
    assert done.exit_code == 2
    assert "keep" in done.stderr


def test_where_one_run_is_recorded_none_is_pruned(folder, batch_of):
    with el.Recorder(folder / "two") as recorder:
        recorder.record(9, **batch_of)
        done = run("prune", folder, "--keep-every", 2, "--yes")
    assert done.exit_code == 2
    assert "is being recorded by process" in done.stderr
    assert el.open_run(folder / "one").token_steps() == [0, 1, 2, 3, 4]


@pytest.fixture
def batch_of():
    import numpy as np

    return {"logprobs": -np.ones((2, 3)), "advantages": np.ones(2), "mask": np.ones((2, 3))}


def test_no_run_is_wrong_use(tmp_path):
    done = run("prune", tmp_path, "--keep-every", 2)
    assert done.exit_code == 2
    assert str(tmp_path) in done.stderr
