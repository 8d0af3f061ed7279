"""Runs the TRL tests on several versions of TRL: one environment a version, over one that they share.

``python tests/trainers/trl_matrix.py [--versions 0.29.0 1.8.0 newest] [--folder /tmp/trl-matrix]``

The shared environment holds torch, transformers and what the tests need; each version's own holds TRL alone
and sees the shared one. Prints a table; the exit code is the number of versions that failed.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
OLDEST, MIDDLE = "0.29.0", "1.7.0"
WITH_BONUS = ("1.8.0", "1.9.0", "1.10.0")
"""The first version with TRL's own entropy bonus, the next, and the one that changed a normaliser."""

SHARED = (
    *("torch==2.13.0", "transformers", "accelerate", "datasets", "requests", "pytest"),
    *("numpy", "pandas", "pyarrow", "scipy"),
)
"""`requests`: TRL below 1.16 imports it without asking for it."""


def main() -> int:
    """Make the environments, run the tests, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--versions", nargs="+", default=[OLDEST, MIDDLE, *WITH_BONUS, "newest"])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/trl-matrix"))
    parser.add_argument("--tests", nargs="+", default=["tests/trainers/trl"])
    options = parser.parse_args()
    shared = make_environment(options.folder / "shared", SHARED)
    rows = []
    for version in options.versions:
        python = make_environment(options.folder / version, [_requirement(version)], over=shared)
        rows.append(run_tests(python, options.tests))
        print("| " + " | ".join(rows[-1]) + " |", flush=True)
    print("\n| TRL | transformers | torch | outcome | seconds |\n|---|---|---|---|---|")
    print("\n".join("| " + " | ".join(row) + " |" for row in rows))
    return sum("failed" in row[3] or "error" in row[3] for row in rows)


def make_environment(folder: Path, packages: list[str] | tuple[str, ...], over: Path | None = None) -> Path:
    """The Python of an environment that holds the packages; ``over``: the Python of one that it sees."""
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if ready.exists() and "newest" not in folder.name:
        return python
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    if over is not None:
        (_site_packages(python) / "shared.pth").write_text(f"{_site_packages(over)}\n")
    install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
    install += ["--upgrade-strategy", "only-if-needed"]
    subprocess.run([*install, *packages], check=True)
    ready.touch()
    return python


def run_tests(python: Path, tests: list[str]) -> list[str]:
    """Versions, outcome and seconds of one environment."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    names = "trl", "transformers", "torch"
    code = "from importlib.metadata import version; print(*map(version, " + repr(names) + "))"
    versions = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    start = time.monotonic()
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=short", *tests]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else "error: " + done.stderr[-300:]
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], sep="\n", flush=True)
    outcome = re.sub(r" in [\d.]+s.*", "", last).strip("= ")
    return [*versions.stdout.split(), outcome, f"{time.monotonic() - start:.0f}"]


def _requirement(version: str) -> str:
    return "trl" if version == "newest" else f"trl=={version}"


def _site_packages(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    done = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())


if __name__ == "__main__":
    sys.exit(main())
