"""The formats of a report and which one a file name asks for."""

from __future__ import annotations

import os
from enum import StrEnum
from pathlib import Path

from entropylab.errors import UnknownNameError


class Format(StrEnum):
    """A format, named as its usual ending."""

    HTML = "html"
    MARKDOWN = "md"


ENDINGS = {".md": Format.MARKDOWN, ".markdown": Format.MARKDOWN}
"""Endings of a file that is Markdown; every other is HTML."""


def format_of(path: str | os.PathLike[str], form: str | None = None) -> Format:
    """The format named by ``form``, else by the ending of the path.

    Raises:
        UnknownNameError: no such format.
    """
    if form is None:
        return ENDINGS.get(Path(path).suffix.lower(), Format.HTML)
    if form not in list(Format):
        raise UnknownNameError(f"No report format {form!r}; there are {', '.join(Format)}")
    return Format(form)
