"""What is in the wheel and the sdist, and what is not."""

from __future__ import annotations

import re
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest
from environments import ROOT

pytestmark = [pytest.mark.release, pytest.mark.wheel]
MIB = 2**20


def names(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def tracked(folder: str) -> set[str]:
    listed = subprocess.run(["git", "ls-files", folder], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(listed.stdout.split())


def test_the_wheel_holds_the_package_the_app_and_its_guide_and_nothing_else(wheel: Path) -> None:
    expected = tracked("entropylab") | {f"entropylab/_{name}" for name in tracked("app")}
    expected.add("entropylab/_app/dashboard.md")
    found = {name for name in names(wheel) if ".dist-info/" not in name}
    assert found == expected


def test_the_wheel_is_small(wheel: Path) -> None:
    assert wheel.stat().st_size < MIB


def test_the_sdist_makes_the_wheel_of_the_checkout(wheel: Path, dist: Path) -> None:
    (direct,) = (dist / "direct").glob("*.whl")
    ours, theirs = zipfile.ZipFile(wheel), zipfile.ZipFile(direct)
    assert names(wheel) == names(direct)
    assert [name for name in names(wheel) if ours.read(name) != theirs.read(name)] == []


def test_the_sdist_holds_the_tests_and_neither_logs_nor_ci(dist: Path) -> None:
    (sdist,) = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        found = {name.partition("/")[2] for name in archive.getnames()}
    assert {"tests/conftest.py", "LICENSE", "README.md", "CHANGELOG.md", "constraints.txt"} <= found
    assert not [name for name in found if name.startswith(("sample_logs/", ".ci/", "runs/", ".venv"))]
    assert not [name for name in found if name.endswith((".pyc", ".whl", ".so"))]
    assert sdist.stat().st_size < 4 * MIB


def test_the_version_is_the_same_everywhere(wheel: Path) -> None:
    said = re.search(
        r'^__version__ = "(.+)"$', (ROOT / "entropylab" / "__init__.py").read_text(), re.MULTILINE
    )
    assert said is not None
    assert wheel.name.startswith(f"entropylab_rl-{said[1]}-py3-none-any")
    assert f"\n## [{said[1]}]" in (ROOT / "CHANGELOG.md").read_text()
    assert f"\nversion: {said[1]}\n" in (ROOT / "CITATION.cff").read_text()
