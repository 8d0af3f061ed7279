"""Killed before each change of the folder, one by one, and in the middle of each file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from fault_checks import check_kept
from fault_process import ROOT, Trainer, run_to_end
from fault_trials import marked

import entropylab as el

STEPS = 3
CHANGES = 150
"""More than a recorder of three steps makes (see the last test)."""

COMPACT = """
import os, sys
from entropylab.record.compaction import compact_run
from fault_death import die_at
die_at(int(sys.argv[2]), sys.argv[1])
compact_run(sys.argv[1])
"""


def check_after_death(path, trainer: Trainer, reference) -> None:
    promises = trainer.end(None)
    if promises.closed or not (path / "_run.json").exists():
        assert promises.attempt is None or promises.closed
        return
    check_kept(path, promises, reference)
    assert run_to_end(path, steps=STEPS + 1).closed
    reference.check_steps(el.open_run(path), STEPS + 1)


@pytest.mark.parametrize(
    "number", marked([33, 20, 47, 58, *sorted({*range(1, CHANGES)} - {20, 33, 47, 58})], 1)
)
def test_killed_before_each_change(number, fast, reference, outcome):
    with Trainer(fast / "r", steps=STEPS, flush_every=2, die_at=number) as trainer:
        check_after_death(fast / "r", trainer, reference)
    outcome("SIGKILL before each change of a recording", sees="a whole prefix; the next attempt goes on")


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("size", marked([3_500, 100, 1_000, *range(150, 7_000, 350)], 1))
def test_killed_in_the_middle_of_a_file(size, stored, fast, reference, outcome):
    """A file has exactly ``size`` bytes when the kernel ends the process; without token rows the marker."""
    job = {"steps": STEPS, "flush_every": 1, "die_at_size": size, "no_tokens": not stored}
    with Trainer(fast / "r", **job) as trainer:
        promises = trainer.end(None)
    if (fast / "r/_run.json").exists() and not promises.closed:
        run = el.open_run(fast / "r")
        assert run.whole_steps() == list(range(promises.steps))
        assert {p.kind for p in run.problems()} <= {"interrupted", "incomplete_step", "temporary_file"}
    outcome("killed in the middle of a file", sees="the steps before; problems: temporary_file")


@pytest.fixture(scope="module")
def small(make_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("every") / "r"
    run = make_run(path, steps=2, prompts=4, group=2, updates=1)
    return path, run.steps(), run.evaluations(), sum(b.num_rows for b in run.tokens())


def compact(path, number: int) -> int:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.path.dirname(__file__)}"}
    command = [sys.executable, "-c", COMPACT, str(path), str(number)]
    return subprocess.run(command, env=environment, check=False, capture_output=True).returncode


@pytest.mark.parametrize("number", marked([9, 24, *sorted({*range(1, 60)} - {9, 24})], 1))
def test_compaction_killed_before_each_change(number, small, fast, outcome):
    original, steps, evaluations, rows = small
    shutil.copytree(original, fast / "r")
    for _attempt in range(2):  # killed, then once more to the end
        compact(fast / "r", number if _attempt == 0 else 10_000)
        run = el.open_run(fast / "r")
        assert run.steps().equals(steps)
        assert run.evaluations().equals(evaluations)
        assert sum(b.num_rows for b in run.tokens()) == rows
        assert {p.kind for p in run.problems()} <= {"leftover", "temporary_file"}
    assert not list((fast / "r/markers").glob("step-*"))
    outcome("SIGKILL before each change of a compaction", sees="the same content; the next one finishes")


@pytest.mark.faults
def test_the_numbers_reach_the_end(small, fast):
    """The last numbers of both tests above kill nothing: each change before was met."""
    with Trainer(fast / "r", steps=STEPS, flush_every=2, die_at=CHANGES) as trainer:
        assert trainer.end(None).closed
    shutil.copytree(small[0], fast / "c")
    assert compact(fast / "c", 59) == 0
    assert json.loads((fast / "r/_run.json").read_text())["attempts"]
