"""From runs to one self-contained HTML file."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from entropylab.errors import InsufficientDataError, RunNotFoundError

from .findings import Findings, gather
from .page import page
from .sections import data_section, figures_section, head, methods_section, settings_section, summary_section

if TYPE_CHECKING:
    from entropylab.record.reader import Run


def build_report(runs: Sequence[Run], path: str | os.PathLike[str]) -> Path:
    """Write a report on the runs: one HTML file that fetches nothing; the path written.

    What a run lacks (evaluations, tokens, entropies) is said in a sentence in its place. The file appears
    whole or not at all. Errors: InsufficientDataError without a run, RunNotFoundError without the folder.
    """
    if not runs:
        raise InsufficientDataError("A report needs at least one run")
    return write_report(gather(runs), path)


def write_report(findings: Findings, path: str | os.PathLike[str]) -> Path:
    """Write the report of results that are there already; the path written."""
    target = Path(path)
    if not target.parent.is_dir():
        raise RunNotFoundError(
            f"No folder {target.parent} to write the report {target.name} into: make it or name another"
        )
    _replace(target, page("entropylab report", _body(findings)))
    return target


def _body(findings: Findings) -> Iterator[str]:
    yield from head(findings)
    yield from summary_section(findings)
    yield from figures_section(findings)
    yield from methods_section()
    yield from settings_section(findings)
    yield from data_section(findings)


def _replace(target: Path, text: str) -> None:
    """Write beside the target, then move into its place."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
