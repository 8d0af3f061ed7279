"""Tables as Markdown, and the files they are committed in."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Sequence
from pathlib import Path

from collect import collect
from runner import run_missing

OUT = Path(__file__).parent / "tables"


def markdown(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A table as GitHub's Markdown."""
    columns = list(columns)
    lines = ["| " + " | ".join(cells) + " |" for cells in [columns, ["---"] * len(columns), *map(list, rows)]]
    return "\n".join(lines)


def write_tables(name: str, parts: Sequence[str]) -> str:
    """Store paragraphs and tables as ``tables/<name>.md``; the text."""
    OUT.mkdir(exist_ok=True)
    text = "\n\n".join(parts) + "\n"
    (OUT / f"{name}.md").write_text(text)
    return text


def collect_as_asked(description: str, runs: str) -> None:
    """Read the command line, train the missing runs of a table where it says so, and collect the results."""
    parser = argparse.ArgumentParser(description=description.splitlines()[0])
    parser.add_argument("--train", type=int, metavar="JOBS", help="train the missing runs, so many at a time")
    jobs = parser.parse_args().train
    if jobs:
        run_missing(runs, jobs)
    collect()
