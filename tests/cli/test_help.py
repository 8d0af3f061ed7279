"""The help of every command: examples that parse, the page made of it, and completion in a shell."""

from __future__ import annotations

import importlib.util
import shlex
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from entropylab.cli.main import COMMANDS, app

DOCS = Path(__file__).parents[2] / "docs"


def commands_page():
    spec = importlib.util.spec_from_file_location("commands_page", DOCS / "commands.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def examples(name: str) -> list[str]:
    heading, *lines = get_command(app).commands[name].epilog.split("\n\n")
    assert heading == "Examples:"
    return lines


def test_the_page_of_commands_is_what_the_help_says_now(monkeypatch):
    for columns in ("40", "200"):
        monkeypatch.setenv("COLUMNS", columns)
        page = commands_page().page()
        assert (DOCS / "commands.md").read_text(encoding="utf-8") == page, "run: make commands"
    assert "\x1b" not in page
    assert "─" not in page
    assert max(map(len, page.splitlines())) <= 80


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_one_or_two_examples_whole(name):
    shown = CliRunner().invoke(app, [name, "--help"]).stdout
    lines = examples(name)
    assert 1 <= len(lines) <= 2
    for line in lines:
        assert line in [text.strip() for text in shown.splitlines()], "an example does not fit on its line"


@pytest.mark.parametrize("name", COMMANDS)
def test_examples_are_calls_that_parse(name):
    command = get_command(app).commands[name]
    for line in examples(name):
        program, called, *arguments = shlex.split(line)
        assert (program, called) == ("entropylab", name)
        command.make_context(name, arguments)


def test_a_wrong_example_does_not_parse():
    with pytest.raises(Exception, match="no-such"):
        get_command(app).commands["fit"].make_context("fit", ["run", "--no-such"])


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_prints_a_script_for_a_named_shell(shell, monkeypatch):
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")  # else it looks for the parent's
    done = CliRunner().invoke(app, ["--show-completion", shell], prog_name="entropylab")
    assert done.exit_code == 0, done.output
    assert f"_ENTROPYLAB_COMPLETE=complete_{shell}" in done.stdout


def test_bash_completes_the_commands():
    asked = {"_ENTROPYLAB_COMPLETE": "complete_bash", "COMP_WORDS": "entropylab re", "COMP_CWORD": "1"}
    done = CliRunner().invoke(app, [], prog_name="entropylab", env=asked)
    assert done.stdout.split() == ["replay", "report"]
