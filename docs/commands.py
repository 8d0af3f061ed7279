"""Write docs/commands.md, the help of every command: ``python docs/commands.py``."""

from __future__ import annotations

from pathlib import Path

from typer import Context
from typer.main import get_command

from entropylab.cli.main import COMMANDS, app

OUT = Path(__file__).with_name("commands.md")
PROGRAM, WIDTH = "entropylab", 80
INTRODUCTION = """# Commands

What `--help` says, as plain text; written by `make commands`.
"""


def main() -> None:
    """Write the page."""
    OUT.write_text(page(), encoding="utf-8")


def page() -> str:
    """The whole page: the program itself, then a section a command."""
    titles = {name: f"{PROGRAM} {name}" for name in COMMANDS}
    sections = [f"## {title}\n\n```text\n{help_of(name)}\n```\n" for name, title in titles.items()]
    return "\n".join([INTRODUCTION, f"```text\n{help_of()}\n```\n", *sections])


def help_of(name: str | None = None) -> str:
    """The help of a command, or of the program, without boxes and colours, whatever the terminal."""
    program = get_command(app)
    context = Context(program, info_name=PROGRAM, terminal_width=WIDTH, **program.context_settings)
    if name is not None:
        context = Context(program.commands[name], info_name=name, parent=context)
    context.command.rich_markup_mode = None
    return "\n".join(line.rstrip() for line in context.command.get_help(context).strip().splitlines())


if __name__ == "__main__":
    main()
