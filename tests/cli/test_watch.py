"""Watching runs: one look where nobody watches, a live screen in a terminal."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from typer.testing import CliRunner

import entropylab as el
from entropylab.cli.main import app
from entropylab.cli.watch import sparkline


@pytest.fixture(scope="module")
def collapsing(tmp_path_factory):
    path = tmp_path_factory.mktemp("watch") / "run"
    with el.Recorder(path, method="baseline") as recorder:
        for i in range(40):
            inputs = {"logprobs": -np.ones((2, 3)), "advantages": np.ones(2), "mask": np.ones((2, 3), bool)}
            recorder.record(i, **inputs, entropy=np.full((2, 3), 0.5 ** (i / 8)))
    return path


def watch(*arguments):
    return CliRunner().invoke(app, ["watch", *map(str, arguments)])


def test_a_look_tells_the_alerts_and_ends_with_1(collapsing):
    done = watch(collapsing)
    assert done.exit_code == 1
    assert "collapsed" in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 80
    (run,) = json.loads(watch(collapsing, "--json").stdout)["runs"]
    assert run["verdict"] == "collapsed"
    assert run["alerts"][0]["kind"] == "entropy_collapsed"


def test_what_is_evaluated_is_called_by_its_name_and_a_reward_stands_in(collapsing, tmp_path):
    path = tmp_path / "rewarded"
    inputs = {"logprobs": -np.ones((2, 3)), "advantages": np.ones(2), "mask": np.ones((2, 3), bool)}
    with el.Recorder(path) as recorder:
        for i in range(3):
            recorder.record(i, **inputs, rewards=np.array([0.25, 0.5]))
    shown = watch(path).stdout
    assert "reward" in shown.splitlines()[0]
    assert "0.375" in shown
    with el.Recorder(path) as recorder:
        recorder.record(3, **inputs)
        recorder.evaluate(3, metric="pass@8", value=0.625, n=8)
    assert "pass@8" in watch(path).stdout.splitlines()[0]
    assert "0.625" in watch(path, collapsing).stdout
    with el.Recorder(tmp_path / "empty"):
        pass
    assert "no step yet" in watch(path, tmp_path / "empty").stdout


def test_sparkline():
    assert sparkline(np.array([8.0, 4.0, np.nan, 0.0])) == "█▅ ▁"
    assert sparkline(np.zeros(3)) == "   "
    assert len(sparkline(np.arange(1000.0))) == 8


def test_a_terminal_is_followed_until_interrupted(collapsing, tmp_path):
    path = tmp_path / "run"
    shutil.copytree(collapsing, path)
    master, slave = pty.openpty()
    command = [sys.executable, "-m", "entropylab", "watch", str(path), "--every", "0.3"]
    process = subprocess.Popen(command, stdout=slave, stderr=slave, env={**os.environ, "TERM": "xterm"})
    os.close(slave)
    seen, end = b"", time.monotonic() + 60
    with el.Recorder(path) as recorder:
        while b"41" not in seen and time.monotonic() < end:
            seen += os.read(master, 65536)
            if b"39" in seen and recorder._step.last < 0:
                inputs = {"logprobs": -np.ones((2, 3)), "advantages": np.ones(2)}
                for step in (40, 41):
                    recorder.record(step, **inputs, mask=np.ones((2, 3), bool), entropy=np.ones((2, 3)))
                recorder.flush()
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    os.close(master)
    assert b"41" in seen
