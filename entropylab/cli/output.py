"""What a command prints: strict JSON, Rich tables of at most 80 columns, and lines on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from entropylab import __version__

WIDTH = 80
"""Columns of the widest table."""

OK, FINDINGS, WRONG_USE = 0, 1, 2
"""Exit codes: fine; findings or incomplete data; wrong use."""


def console(stream: TextIO | None = None) -> Console:
    """A console of at most 80 columns on stdout (or another stream), plain where it is no terminal."""
    found = Console(file=stream or sys.stdout, highlight=False, soft_wrap=False)
    found.width = min(found.width, WIDTH) if found.is_terminal else WIDTH
    return found


def say(text: str = "", style: str | None = None) -> None:
    """A paragraph on stdout, wrapped; brackets are text, not markup."""
    console().print(Text(text, style=style or ""))


@contextmanager
def progress_bar(title: str) -> Iterator[Callable[[float], None]]:
    """A bar on stderr while the block runs, gone after it; what it gives takes the fraction done.

    Nothing is drawn where stderr is no terminal.
    """
    found = console(sys.stderr)
    with Progress(console=found, transient=True, disable=not found.is_terminal) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda fraction: bar.update(task, completed=fraction)


def complain(text: str) -> None:
    """One line on stderr."""
    print(f"entropylab: {' '.join(text.split())}", file=sys.stderr)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, text: int = 1) -> None:
    """A table whose first ``text`` columns hold text and whose others hold right-aligned numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < text else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    say(title, style="italic")
    console().print(table)


def number(value: float | None, digits: int = 3) -> str:
    """A number with fixed decimals, so that a column aligns at the point; "-" for what is missing."""
    return "-" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def interval(bounds: Sequence[float | None] | None, digits: int = 2) -> str:
    """An interval as (0.53-0.61), "withheld" where there is none."""
    if bounds is None or any(b is None or not math.isfinite(b) for b in bounds):
        return "withheld"
    low, high = (f"{b:.{digits}f}" for b in bounds)
    return f"({low} to {high})"


def print_json(command: str, runs: Sequence[dict[str, Any]], **more: Any) -> None:
    """The one JSON document of a command on stdout."""
    from entropylab.analysis.jsonable import jsonable

    document = jsonable({"version": __version__, "command": command, "runs": list(runs), **more})
    print(json.dumps(document, indent=2, allow_nan=False, ensure_ascii=False))
