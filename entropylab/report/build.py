"""From runs to a report: one self-contained HTML file, or Markdown beside a folder of figures."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from entropylab.errors import InsufficientDataError, RunNotFoundError

from .blocks import Block
from .dynamics import dynamics_section
from .findings import Findings, gather
from .formats import Format, format_of
from .health import health_section
from .html import to_html
from .influence import influence_section
from .markdown import to_markdown
from .replays import replays_section
from .sections import data_section, figures_section, head, methods_section, settings_section, summary_section
from .writing import replace, replace_with_figures

if TYPE_CHECKING:
    from entropylab.record.reader import Run


def build_report(runs: Sequence[Run], path: str | os.PathLike[str], form: str | None = None) -> Path:
    """Write a report on the runs that fetches nothing; the path written.

    ``form``: "html", one file, or "md", Markdown with its figures as SVG files in ``NAME_files`` beside it;
    without one the ending of the path decides. What a run lacks (evaluations, tokens, entropies) is said in a
    sentence in its place. The files appear whole or not at all. Errors: InsufficientDataError without a run,
    RunNotFoundError without the folder, UnknownNameError for another format.
    """
    if not runs:
        raise InsufficientDataError("A report needs at least one run")
    check_place(path)
    return write_report(gather(runs), path, form)


def check_place(path: str | os.PathLike[str]) -> None:
    """RunNotFoundError if the folder that a report shall be written into is not there."""
    target = Path(path)
    if not target.parent.is_dir():
        raise RunNotFoundError(
            f"No folder {target.parent} to write the report {target.name} into: make it or name another"
        )


def write_report(findings: Findings, path: str | os.PathLike[str], form: str | None = None) -> Path:
    """Write the report of results that are there already; the path written."""
    check_place(path)
    target, chosen = Path(path), format_of(path, form)
    if chosen is Format.MARKDOWN:
        folder = target.with_name(f"{target.stem}_files")
        made = to_markdown(_body(findings), folder.name)
        replace_with_figures(target, made.text, folder, made.files)
    else:
        replace(target, to_html(_body(findings)))
    return target


def _body(findings: Findings) -> Iterator[Block]:
    yield from head(findings)
    yield from summary_section(findings)
    yield from health_section(findings)
    yield from figures_section(findings)
    yield from dynamics_section(findings)
    yield from replays_section(findings)
    yield from influence_section(findings)
    yield from methods_section()
    yield from settings_section(findings)
    yield from data_section(findings)
