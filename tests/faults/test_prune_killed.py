"""SIGKILL during a prune, before each change of the folder: every summary stays, the next prune finishes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
from fault_checks import rows
from fault_process import ROOT
from fault_trials import marked

import entropylab as el
from entropylab.record.compaction import compact_run
from entropylab.record.pruning import prune_run

CHANGES = 75
"""More than a prune below makes (see the last test)."""

PRUNE = """
import sys
from entropylab.record.pruning import prune_run
from fault_death import die_at
die_at(int(sys.argv[2]), sys.argv[1])
prune_run(sys.argv[1], keep_every=2, responses=True, dry_run=False)
"""


def prune(path, number: int) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.path.dirname(__file__)}"}
    command = [sys.executable, "-c", PRUNE, str(path), str(number)]
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


def frames(path) -> list[pd.DataFrame]:
    """What must stay, made without readers' caches."""
    shutil.rmtree(path / "cache", ignore_errors=True)
    run = el.open_run(path)
    return [run.steps(), run.steps(by="update"), run.evaluations()]


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "compacted"])
def original(request, make_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("prune") / "r"
    make_run(path, steps=4, prompts=4, group=2, updates=1, world_size=2)
    if request.param:
        compact_run(path)
    run = el.open_run(path)
    return path, frames(path), rows(run.tokens()), rows(run.tokens(steps=[0, 2]))


def check_rows(run: el.Run, whole, kept) -> None:
    """Either nothing is pruned yet or everything is: one table of markers says so."""
    pruned = run.pruned_steps()
    assert pruned in ([], [1, 3])
    assert rows(run.tokens()).equals(kept if pruned else whole)
    assert sum(b.num_rows for b in run.responses()) == (16 if pruned else 32)
    kinds = {p.kind for p in run.problems()}
    assert kinds <= {"leftover", "temporary_file"}


@pytest.mark.quick("plain-9", "compacted-21")
@pytest.mark.parametrize("number", marked([9, 21, 30, *sorted({*range(1, CHANGES)} - {9, 21, 30})], 3))
def test_killed_before_each_change(number, original, fast, outcome):
    path, before, whole, kept = original
    shutil.copytree(path, fast / "r")
    prune(fast / "r", number)
    for found, expected in zip(frames(fast / "r"), before, strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    check_rows(el.open_run(fast / "r"), whole, kept)
    prune_run(fast / "r", keep_every=2, responses=True, dry_run=False)
    for found, expected in zip(frames(fast / "r"), before, strict=True):
        pd.testing.assert_frame_equal(found, expected, check_exact=True)
    run = el.open_run(fast / "r")
    assert run.pruned_steps() == [1, 3]
    check_rows(run, whole, kept)
    assert {p.kind for p in run.problems()} <= {"temporary_file"}
    assert not list((fast / "r").glob("*/step-000001/rank-*"))
    outcome("SIGKILL before each change of a prune", sees="the same summaries; the next one finishes")


@pytest.mark.faults
def test_the_numbers_reach_the_end(original, fast):
    """The last number above kills nothing: each change before was met."""
    shutil.copytree(original[0], fast / "r")
    assert prune(fast / "r", CHANGES - 1) == 0
    assert el.open_run(fast / "r").problems() == []
