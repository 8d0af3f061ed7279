"""The command line: one app, one file a command, errors as one line."""

from __future__ import annotations

import importlib
import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from entropylab import __version__
from entropylab.errors import EntropylabError

from .output import WRONG_USE, complain

COMMANDS: dict[str, str] = {
    "demo": "demo",
    "doctor": "doctor",
    "watch": "watch",
    "fit": "fit",
    "tails": "tails",
    "dynamics": "dynamics",
    "who": "who",
    "replay": "replay",
    "audit": "audit",
    "compare": "compare",
    "report": "report",
    "import": "import_",
    "export": "export",
    "sql": "sql",
    "summarize": "summarize",
    "compact": "compact",
    "prune": "prune",
    "dashboard": "dashboard",
}
"""Command -> the module here with its function ``command`` and its EXAMPLES, in the order of ``--help``."""

TRACEBACK = "ENTROPYLAB_TRACEBACK"


class ClearErrors(TyperGroup):
    """A group that turns an error into one line on stderr and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command; ``ENTROPYLAB_TRACEBACK=1`` lets errors through as they are."""
        try:
            return super().invoke(ctx)
        except Exception as error:
            if os.environ.get(TRACEBACK) or _belongs_to_typer(error):
                raise
            complain(_one_line(error))
            raise typer.Exit(WRONG_USE) from None


def _belongs_to_typer(error: Exception) -> bool:
    """Exits, aborts and usage errors, which Typer turns into their own messages and codes."""
    return isinstance(error, BrokenPipeError) or type(error).__module__.startswith(("typer", "click"))


def _one_line(error: Exception) -> str:
    if isinstance(error, EntropylabError | OSError):
        return str(error)
    return f"unexpected {type(error).__name__}: {error} (run with {TRACEBACK}=1 to see where)"


app = typer.Typer(
    cls=ClearErrors,
    name="entropylab",
    help="See and control policy entropy in reinforcement learning of language models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 fine, 1 findings or incomplete data, 2 wrong use.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"entropylab {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """See and control policy entropy in reinforcement learning of language models."""


def _examples(lines: Sequence[str]) -> str:
    """The end of a command's help: a paragraph each, which Rich and plain help keep as a line each."""
    return "\n\n".join(["Examples:", *lines])


for _name, _module in COMMANDS.items():
    _found = importlib.import_module(f"{__package__}.{_module}")
    app.command(_name, epilog=_examples(_found.EXAMPLES))(_found.command)


def main() -> None:
    """Entry point of the ``entropylab`` script."""
    app()
