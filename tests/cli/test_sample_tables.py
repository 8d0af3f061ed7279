"""The reading commands on the shipped runs, as the README and the examples of the help show them."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.cells import cell_len
from typer.testing import CliRunner

from entropylab.cli.main import app

SAMPLES = Path(__file__).parents[2] / "sample_logs"
CALLS = {
    "fit": ("start-a/baseline-s0", "start-a/clip_cov-s0"),
    "tails": ("rare-x/clip_cov-s1",),
    "dynamics": ("start-a/baseline-s0",),
    "who": ("rare-x/clip_cov-s1",),
    "replay": ("start-a/clip_cov-s0", "--method", "kl_cov_7b"),
    "compare": ("rare-x",),
    "doctor": ("start-a/baseline-s0",),
}


@pytest.mark.parametrize("command", CALLS)
def test_nothing_printed_on_the_sample_logs_is_wider_than_80_columns(command, monkeypatch):
    monkeypatch.chdir(SAMPLES)
    done = CliRunner().invoke(app, [command, *CALLS[command]])
    assert done.exit_code in (0, 1), done.output
    lines = done.stdout.splitlines()
    assert len(lines) > 2
    assert max(map(cell_len, lines)) <= 80
