"""Every snippet and every command of the README runs as it stands."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from page_blocks import commands, snippets
from rich.cells import cell_len
from typer.testing import CliRunner

from entropylab import Run
from entropylab.cli.main import app

ROOT = Path(__file__).parent.parent
SNIPPETS = snippets(ROOT / "README.md")
COMMANDS = commands(ROOT / "README.md")
RUN_BY_CI = {
    "make demo",
    "make test",
    "make dashboard",
}  # the first two by .ci/run, the third by the browser tests


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "sample_logs").symlink_to(ROOT / "sample_logs")
    return tmp_path


@pytest.mark.parametrize("snippet", SNIPPETS, ids=range(len(SNIPPETS)))
def test_a_snippet_runs(snippet: str, checkout: Path) -> None:
    result = subprocess.run([sys.executable, "-c", snippet], cwd=checkout, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


@pytest.fixture
def few_runs(tmp_path: Path) -> Path:
    """A checkout in which start-a holds two of its nine runs."""
    for name in ("baseline-s0", "clip_cov-s0"):
        part = Path("sample_logs", "start-a", name)
        shutil.copytree(ROOT / part, tmp_path / part)
    return tmp_path


@pytest.fixture
def small_runs(make_run: Callable[..., Run], tmp_path: Path) -> Path:
    """A checkout in which start-a holds two runs of a few steps."""
    for method in ("baseline", "clip_cov"):
        make_run(tmp_path / "sample_logs" / "start-a" / f"{method}-s0", method=method, steps=3, prompts=8)
    return tmp_path


PLACES = {"compare": "few_runs", "report": "small_runs"}


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in RUN_BY_CI])
def test_a_command_runs(
    command: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And prints no line of more than 80 columns."""
    program, *arguments = shlex.split(command)
    assert program == "entropylab", f"the README shows {command!r}, which no test runs"
    monkeypatch.chdir(request.getfixturevalue(PLACES.get(arguments[0], "checkout")))
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code in (0, 1), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert max(map(cell_len, done.stdout.splitlines())) <= 80


@pytest.mark.long
def test_the_shipped_runs_have_a_whole_report(few_runs: Path) -> None:
    done = CliRunner().invoke(app, ["report", str(few_runs / "sample_logs"), "-o", str(few_runs / "r.html")])
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("target", sorted(RUN_BY_CI))
def test_the_make_targets_of_the_readme_exist(target: str) -> None:
    name = target.removeprefix("make ")
    assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
