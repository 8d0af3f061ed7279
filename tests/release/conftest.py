"""The wheel and the sdist, built once, and environments that hold the wheel.

Run by ``make test-release`` in an environment of its own; the other targets leave the mark ``release`` out.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from environments import ROOT, Environment

HERE = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist and the wheel made from it; below ``direct`` the wheel of the checkout."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "build", "--no-isolation"]
    for arguments in (["--outdir", folder], ["--wheel", "--outdir", folder / "direct"]):
        done = subprocess.run([*build, *arguments, ROOT], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="session")
def wheel(dist: Path) -> Path:
    (found,) = dist.glob("*.whl")
    return found


@pytest.fixture(scope="session")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Environment]:
    """``environment("app,sql", "pytest>=8.3", python="3.12")``: a fresh one with the wheel, made once."""
    made: dict[tuple[str, ...], Environment] = {}

    def find(extras: str = "", *others: str, python: str = HERE) -> Environment:
        key = (extras, python, *others)
        if key not in made:
            fresh = Environment(tmp_path_factory.mktemp(f"python{python}"), python)
            fresh.install(f"entropylab-rl[{extras}] @ {wheel.as_uri()}", *others)
            made[key] = fresh
        return made[key]

    return find


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies of two sample runs."""
    folder = tmp_path_factory.mktemp("runs")
    for name in ("baseline-s0", "clip_cov-s0"):
        shutil.copytree(ROOT / "sample_logs" / "start-a" / name, folder / name)
    return folder
