"""Every snippet and every command of the site's pages runs as it stands, and is short."""

from __future__ import annotations

import io
import os
import re
import shlex
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from page_blocks import commands, snippets
from rich.cells import cell_len
from typer.testing import CliRunner

from entropylab.cli.main import app

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(
    [DOCS / "index.md", DOCS / "faq.md", DOCS / "limits.md", DOCS / "reference" / "methods.md"]
    + [page for folder in ("concepts", "how-to") for page in (DOCS / folder).glob("*.md")]
)
README = commands(ROOT / "README.md")
TARGETS = {"make demo", "make dashboard", "make test"}
SNIPPETS = [(page, number) for page in PAGES for number in range(len(snippets(page)))]
COMMANDS = sorted({line for page in PAGES for line in commands(page)} - set(README) - TARGETS)


def name_of(page: Path) -> str:
    return str(page.relative_to(DOCS).with_suffix(""))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for part in ("sample_logs", "tests/importers/fixtures"):
        (tmp_path / part).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / part).symlink_to(ROOT / part)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.quick("*own-loop*", "*forms*", "*methods*", "*collapse*", "*fit*")
@pytest.mark.parametrize(
    ("page", "number"), SNIPPETS, ids=[f"{name_of(page)}-{number}" for page, number in SNIPPETS]
)
def test_a_snippet_runs(page: Path, number: int, checkout: Path) -> None:
    with redirect_stdout(io.StringIO()) as out:
        exec(compile(snippets(page)[number], str(page), "exec"), {"__name__": "snippet"})
    assert out.getvalue().strip(), "a snippet shows what it found"


@pytest.mark.quick("*completions*", "*trainer_state*")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command: str, checkout: Path) -> None:
    """And prints no line of more than 80 columns."""
    program, *arguments = shlex.split(command)
    assert program == "entropylab", f"a page shows {command!r}, which no test runs"
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code in (0, 1), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert max(map(cell_len, done.stdout.splitlines())) <= 80


@pytest.mark.parametrize("page", sorted((DOCS / "how-to").glob("*.md")), ids=name_of)
def test_a_how_to_is_short_and_says_what_it_does_not_do(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert len(text.split()) < 520
    assert re.search(r"^## What it does not (say|do)$", text, flags=re.MULTILINE)
    assert snippets(page) or commands(page)


def test_pictures_of_the_pages_exist_and_are_described() -> None:
    for page in PAGES:
        for words, target in re.findall(r"!\[(.*?)\]\((.*?)\)", page.read_text(encoding="utf-8")):
            assert words, f"{name_of(page)}: {target} has no words for those who cannot see it"
            assert Path(os.path.normpath(page.parent / target)).is_file()
