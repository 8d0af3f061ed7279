"""The sdist's tests on the wheel: in every supported Python, and with the lowest supported versions."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

import pytest
from environments import ROOT, Environment, has_python, uv

pytestmark = pytest.mark.release

PYTHONS = ("3.11", "3.12", "3.13")
NEEDED = ("pytest>=8.3", "hypothesis>=6.100", "polars>=1.0", "flask>=3.0", "flask-cors>=5.0")
SMOKE = (
    "tests/analysis/test_curve.py",
    "tests/analysis/test_tails.py",
    "tests/record/test_round_trip.py",
    "tests/record/test_sql.py",
    "tests/app/test_pages.py",
)
WITHOUT_TORCH = ("tests/analysis", "tests/record", "tests/cli", "tests/app", "tests/report", "tests/plots")
ELSEWHERE = (
    "tests/cli/test_help.py",  # the page of commands is written with the pinned typer
    "tests/cli/test_demo.py",  # trains
)


@pytest.fixture
def sources(dist: Path, tmp_path: Path) -> Path:
    """The sdist unpacked, without its package, and with the sample logs that it leaves out."""
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (folder,) = tmp_path.glob("entropylab_rl-*")
    shutil.rmtree(folder / "entropylab")
    (folder / "sample_logs").symlink_to(ROOT / "sample_logs")
    return folder


def passed(ours: Environment, sources: Path, *tests: str) -> str:
    """The last line of the tests; by `pytest`, since `python -m pytest` looks for the package here."""
    chosen = [str(sources / name) for name in tests]
    options = ["-q", "-p", "no:cacheprovider", "--tb=short", "-m", "not long and not browser and not cuda"]
    options += ["--rootdir", str(sources), "-c", str(sources / "pyproject.toml")]
    options += [f"--ignore={sources / name}" for name in ELSEWHERE]
    return ours.output("pytest", *options, *chosen).splitlines()[-1]


@pytest.mark.parametrize("python", PYTHONS)
def test_a_python_passes_the_smoke_tests(environment, sources: Path, python: str) -> None:
    if not has_python(python):
        pytest.skip(f"this machine has no Python {python}")
    ours = environment("app,s3,sql", *NEEDED, python=python)
    print(python, passed(ours, sources, *SMOKE))


def test_the_lowest_versions_pass_what_needs_no_torch(wheel: Path, sources: Path, tmp_path: Path) -> None:
    """torch stays out: the index holds its low releases for CUDA alone."""
    lowest = tmp_path / "lowest.txt"
    asked = ["--resolution", "lowest-direct", "--extra", "app", "--extra", "s3", "--extra", "sql"]
    written = ["--quiet", "--python-version", PYTHONS[0], "--output-file", lowest]
    uv("pip", "compile", *asked, *written, ROOT / "pyproject.toml")
    ours = Environment(tmp_path / "environment", PYTHONS[0])
    ours.install("--constraint", lowest, f"entropylab-rl[app,s3,sql] @ {wheel.as_uri()}", *NEEDED)
    print(ours.versions())
    print(passed(ours, sources, *WITHOUT_TORCH))
