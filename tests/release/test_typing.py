"""The wheel is typed: strict mypy and pyright accept a right program and find the mistakes of a wrong one."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from environments import ROOT, TORCH, Environment, outside

pytestmark = pytest.mark.release


@pytest.fixture(scope="module")
def program(environment, tmp_path_factory: pytest.TempPathFactory) -> tuple[Environment, Path]:
    """The environment with the wheel, and a folder with the two programs alone."""
    folder = tmp_path_factory.mktemp("program")
    for name in ("consumer.py", "wrong_consumer.py"):
        shutil.copy(ROOT / "tests" / "typing" / name, folder)
    return environment("train", TORCH, "pandas-stubs"), folder


def check(folder: Path, *command: str | Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)], cwd=folder, env=outside(), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_mypy_strict(program) -> None:
    ours, folder = program
    check(folder, "mypy", "--strict", "--python-executable", ours.bin / "python", ".")


def test_pyright_strict(program) -> None:
    ours, folder = program
    settings = {"include": ["."], "strict": ["."], "reportUnnecessaryTypeIgnoreComment": "error"}
    # pandas-stubs leave types of their own unknown, and a mistake makes what follows it unknown.
    quiet = ("reportUnknownMemberType", "reportUnknownVariableType", "reportUnknownArgumentType")
    settings |= dict.fromkeys(quiet, "none")
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    check(folder, "pyright", "--pythonpath", ours.bin / "python")
