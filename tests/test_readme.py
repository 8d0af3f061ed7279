"""Every snippet and every command of the README runs as it stands."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", README, flags=re.DOTALL)
SNIPPETS = [text for language, text in BLOCKS if language == "python"]
COMMANDS = [line for language, text in BLOCKS if not language for line in text.strip().splitlines()]
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


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in RUN_BY_CI])
def test_a_command_runs(command: str, checkout: Path) -> None:
    program, *arguments = shlex.split(command)
    assert program == "entropylab", f"the README shows {command!r}, which no test runs"
    script = Path(sys.executable).with_name("entropylab")
    result = subprocess.run([script, *arguments], cwd=checkout, capture_output=True, text=True)
    assert result.returncode in (0, 1), result.stderr
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("target", sorted(RUN_BY_CI))
def test_the_make_targets_of_the_readme_exist(target: str) -> None:
    name = target.removeprefix("make ")
    assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
