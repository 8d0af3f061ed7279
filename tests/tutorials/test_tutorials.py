"""Every tutorial runs as it stands, and prints the lines that it shows as its output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "tutorials"
PAGES = sorted(path.name for path in FOLDER.glob("*.md") if path.name != "README.md")
SECONDS = 180


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language, in order."""
    fenced = rf"^```{language}\n(.*?)^```$"
    return re.findall(fenced, (FOLDER / page).read_text(), flags=re.MULTILINE | re.DOTALL)


def test_the_index_lists_every_page() -> None:
    assert sorted(re.findall(r"\]\((\S+\.md)\)", (FOLDER / "README.md").read_text())) == PAGES


@pytest.mark.parametrize("page", PAGES)
def test_the_links_of_a_page_lead_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", (FOLDER / page).read_text()):
        assert (FOLDER / target).exists(), f"{page} links to {target}"


@pytest.mark.long
@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_runs(page: str, tmp_path: Path) -> None:
    if page == "control-a-trl-run.md":
        pytest.importorskip("trl")
    (tmp_path / "sample_logs").symlink_to(ROOT / "sample_logs")
    program = "\n".join(blocks(page, "python"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    start = os.times().children_user
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert os.times().children_user - start < SECONDS
    printed = done.stdout.splitlines()
    missing = [line for text in blocks(page, "text") for line in text.splitlines() if line not in printed]
    assert missing == [], done.stdout[-6000:]
