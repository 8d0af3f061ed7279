"""Where runs lie: their folders at or below a folder or URL."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import RunNotFoundError
from .files import Location
from .paths import RUN_FILE
from .remote import RemotePath
from .run_info import read_info


def runs_below(folder: Location) -> list[Location]:
    """The folders of the runs at or below a folder or URL, sorted; `RunNotFoundError` where there is none."""
    if not folder.is_dir():
        raise RunNotFoundError(f"{folder}: no such folder")
    found = sorted(_found_below(folder), key=_parts)
    if not found:
        raise RunNotFoundError(
            f"{folder}: no run at or below this folder (no {RUN_FILE}); make one with el.Recorder"
        )
    return found


def run_info_of(folder: Location) -> dict[str, Any]:
    """What `_run.json` of a folder says; `RunNotFoundError` with the reason where there is none."""
    try:
        return read_info(folder)
    except FileNotFoundError:
        raise RunNotFoundError(_no_run(folder)) from None
    except NotADirectoryError:
        raise RunNotFoundError(f"{folder}: a file, not the folder of a run") from None


def _no_run(folder: Location) -> str:
    """Why there is no run in a folder, and what to do."""
    if not folder.exists():
        return f"{folder}: no such folder"
    if not folder.is_dir():
        return f"{folder}: a file, not the folder of a run"
    below = next(_found_below(folder), None)
    mend = f"there is one at {below}; open_runs opens all below" if below else "make one with el.Recorder"
    return f"{folder}: no run here (no {RUN_FILE}); {mend}"


def _found_below(folder: Location) -> Iterator[Location]:
    """Run folders as they are found; one is never searched further."""
    return _remote_runs(folder) if isinstance(folder, RemotePath) else _local_runs(folder)


def _parts(folder: Location) -> list[str]:
    return str(folder).split("/")


def _local_runs(folder: Path) -> Iterator[Path]:
    for where, folders, files in os.walk(folder):
        if RUN_FILE in files:
            yield Path(where)
            folders.clear()


def _remote_runs(folder: RemotePath) -> Iterator[RemotePath]:
    """Level by level, so that the files of a run are never listed."""
    children = folder.children()
    if any(name == RUN_FILE for name, _ in children):
        yield folder
        return
    for name, stamp in children:
        if stamp is None:
            yield from _remote_runs(folder / name)
