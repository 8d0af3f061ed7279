"""Files that appear whole or not at all: one, or one with a folder of figures beside it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path

_OURS = re.compile(r"[a-z]+\d*-[0-9a-f]{8}\.svg")
"""Names of figures: only such files are ever removed."""


def replace(target: Path, text: str) -> None:
    """Write beside the target, then move into its place."""
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name[:100]}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def replace_with_figures(target: Path, text: str, folder: Path, files: Mapping[str, str]) -> None:
    """Write the files, then the text that shows them, then remove the figures that it no longer shows.

    Until the text is in place the old one shows its old figures; a failure leaves it and them as they were.
    """
    made = not folder.exists()
    folder.mkdir(exist_ok=True)
    before = {path.name for path in folder.iterdir()}
    try:
        for name, content in files.items():
            replace(folder / name, content)
        replace(target, text)
    except BaseException:
        for name in files.keys() - before:
            (folder / name).unlink(missing_ok=True)
        if made:
            folder.rmdir()
        raise
    for name in before - files.keys():
        if _OURS.fullmatch(name):
            (folder / name).unlink(missing_ok=True)
