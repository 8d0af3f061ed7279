"""SIGKILL during compaction: before, between and after, the content of the run is the same."""

from __future__ import annotations

import random
import shutil
import subprocess
import sys
import time

import pandas as pd
import pytest
from fault_checks import rows
from fault_process import ROOT
from fault_trials import trials

import entropylab as el
from entropylab.record import compaction

COMPACT = """
import os, sys
from entropylab.record import compaction
compaction.ROWS_PER_FILE = 400
for path in sys.argv[1:]:
    os.write(1, b"ready\\n")
    compaction.compact_run(path)
"""


def content(path) -> dict[str, object]:
    run = el.open_run(path)
    frames = {"steps": run.steps(), "updates": run.steps(by="update"), "evaluations": run.evaluations()}
    return frames | {"tokens": rows(run.tokens()), "responses": rows(run.responses())}


def check_same(found: dict, expected: dict) -> None:
    for name in ("steps", "updates", "evaluations"):
        pd.testing.assert_frame_equal(found[name], expected[name], check_exact=True)
    assert found["tokens"].equals(expected["tokens"])
    assert found["responses"].equals(expected["responses"])


@pytest.fixture(scope="module")
def original(make_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("compaction") / "r"
    make_run(path, steps=8, prompts=6, group=4, updates=2, world_size=2)
    return path, content(path)


def kill_compaction(path, seconds: float) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", COMPACT, str(path)], stdout=subprocess.PIPE, env={"PYTHONPATH": str(ROOT)}
    )
    child.stdout.readline()
    time.sleep(seconds)
    child.kill()
    child.communicate()


@pytest.mark.parametrize("seed", trials(0, 80))
def test_killed_at_a_random_moment_and_again(seed, original, fast, outcome):
    path, expected = fast / "r", original[1]
    shutil.copytree(original[0], path)
    draw = random.Random(seed)
    kills = draw.choice([1, 1, 2, 3])
    for _ in range(kills):
        kill_compaction(path, draw.uniform(0.0, 0.15))
        check_same(content(path), expected)
        assert {p.kind for p in el.open_run(path).problems()} <= {"leftover", "temporary_file"}
    compaction.compact_run(path)
    check_same(content(path), expected)
    run = el.open_run(path)
    assert {p.kind for p in run.problems()} <= {"temporary_file"}
    assert not run.path.joinpath("markers/step-000000").exists()
    outcome(
        "SIGKILL while compacting", sees="the same content; problems: leftover, temporary_file", trials=kills
    )


@pytest.mark.faults
def test_a_reader_that_looks_on_while_a_run_is_compacted(original, fast, outcome):
    """Frames and rows are the same at every look, also those of a file that has just been merged."""
    copies = [fast / str(i) for i in range(20)]
    for copy in copies:
        shutil.copytree(original[0], copy)
    child = subprocess.Popen(
        [sys.executable, "-c", COMPACT, *map(str, copies)],
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": str(ROOT)},
    )
    looks = 0
    for copy in copies:
        child.stdout.readline()
        run, end = el.open_run(copy), time.monotonic() + 0.2
        while time.monotonic() < end:
            pd.testing.assert_frame_equal(run.steps(), original[1]["steps"], check_exact=True)
            pd.testing.assert_frame_equal(run.evaluations(), original[1]["evaluations"], check_exact=True)
            assert rows(run.tokens()).equals(original[1]["tokens"])
            looks += 1
    child.wait()
    child.stdout.close()
    for copy in copies:
        check_same(content(copy), original[1])
    outcome("a reader beside compaction", sees="the same content", trials=looks)
