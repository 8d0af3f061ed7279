"""Fresh environments, made by uv, that know nothing of the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TORCH = "torch==2.13.0"
"""The release that constraints.txt pins, so that no other build of torch is fetched."""
HIDDEN = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "ENTROPYLAB_PATHS")


def outside() -> dict[str, str]:
    """The environment variables of a user who has no checkout."""
    kept = {name: value for name, value in os.environ.items() if name not in HIDDEN}
    if "PIP_FIND_LINKS" in kept:
        kept.setdefault("UV_FIND_LINKS", kept["PIP_FIND_LINKS"])
    pyenv = sorted(map(str, Path.home().glob(".pyenv/versions/3.*/bin")))
    kept["PATH"] = os.pathsep.join([kept.get("PATH", ""), *pyenv])
    return kept | {"PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "80"}


def uv(*arguments: str | Path) -> str:
    """What uv prints; it raises with uv's own words."""
    command = [sys.executable, "-m", "uv", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, env=outside())
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
    return done.stdout


def has_python(version: str) -> bool:
    """Whether this machine has such an interpreter; none is fetched."""
    try:
        return bool(uv("python", "find", "--no-python-downloads", version))
    except RuntimeError:
        return False


class Environment:
    """An interpreter with what was installed into it; commands run in an empty folder beside it."""

    def __init__(self, folder: Path, python: str) -> None:
        self.bin = folder / "venv" / "bin"
        self.place = folder / "work"
        self.place.mkdir(parents=True)
        uv("venv", "--quiet", "--python", python, folder / "venv")

    def install(self, *requirements: str | Path) -> None:
        uv("pip", "install", "--quiet", "--python", self.bin / "python", *requirements)

    def versions(self) -> str:
        """The installed packages, a line each."""
        return uv("pip", "freeze", "--quiet", "--python", self.bin / "python")

    def run(self, program: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """A program of this environment, in its empty folder."""
        command = [str(self.bin / program), *map(str, arguments)]
        return subprocess.run(command, cwd=self.place, env=outside(), capture_output=True, text=True)

    def output(self, program: str, *arguments: str | Path, codes: tuple[int, ...] = (0,)) -> str:
        """What it prints; an error shows what it said."""
        done = self.run(program, *arguments)
        words = f"{program} {arguments} ended with {done.returncode}:\n"
        assert done.returncode in codes, words + done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout
