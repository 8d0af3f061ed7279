"""The reading commands on the shipped runs; test_readme.py has those that the README shows."""

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
    "who": ("rare-x/clip_cov-s1",),
    "compare": ("rare-x",),
    "doctor": ("start-a/baseline-s0",),
}


@pytest.mark.quick("fit", "tails", "doctor")
@pytest.mark.parametrize("command", CALLS)
def test_nothing_printed_on_the_sample_logs_is_wider_than_80_columns(command, monkeypatch):
    monkeypatch.chdir(SAMPLES)
    done = CliRunner().invoke(app, [command, *CALLS[command]])
    assert done.exit_code in (0, 1), done.output
    lines = done.stdout.splitlines()
    assert len(lines) > 2
    assert max(map(cell_len, lines)) <= 80
