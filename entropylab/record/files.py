"""What a run needs of its store, the same for local folders and object stores."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from .paths import CACHE
from .remote import RemotePath

CONNECTIONS = 16
"""Small files of an object store that are fetched or deleted at one time."""

Location: TypeAlias = Path | RemotePath
"""A run folder, or a file of one."""

Stamp: TypeAlias = tuple[int, int | None]
"""(size, time of change in ns; None where the store does not tell): what identifies the content of a file."""


@dataclass
class Listing:
    """Names of all files below a folder, relative to it, in order; those whose folder cannot be read."""

    names: list[str] = field(default_factory=list)
    stamps: dict[str, Stamp] = field(default_factory=dict)
    unreadable: dict[str, OSError] = field(default_factory=dict)

    def sort(self) -> None:
        """By path, folder by folder."""
        self.names.sort(key=lambda name: name.split("/"))


def list_files(folder: Location, below: tuple[str, ...]) -> Listing:
    """The files directly in a folder, and all of those in its subfolders ``below``."""
    found = Listing()
    if isinstance(folder, RemotePath):
        for name, stamp in folder.files():
            if "/" not in name or name.split("/", 1)[0] in below:
                found.names.append(name)
                found.stamps[name] = stamp
    else:
        _walk(folder, "", found, below)
    found.sort()
    return found


def _walk(folder: Path, prefix: str, found: Listing, below: tuple[str, ...]) -> None:
    try:
        with os.scandir(folder / prefix) as entries:
            items = [(entry.name, entry.is_dir()) for entry in entries]
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        found.unreadable[prefix or "."] = error
        return
    for name, is_folder in items:
        path = f"{prefix}/{name}" if prefix else name
        if not is_folder:
            found.names.append(path)
        elif prefix or name in below:
            _walk(folder, path, found, below)


def stamp_of(path: Location) -> Stamp | None:
    """The stamp of a file, None where there is none."""
    if isinstance(path, RemotePath):
        return path.stamp()
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_size, stat.st_mtime_ns


def written_within(path: Path, seconds: float) -> bool:
    """Whether there is such a file, written no longer ago than this."""
    return path.exists() and time.time() - path.stat().st_mtime < seconds


def parquet_source(path: Location) -> Any:
    """What pyarrow opens to read a Parquet file."""
    return path.open() if isinstance(path, RemotePath) else path


def delete_files(folder: Location, names: list[str]) -> None:
    """Delete files, and local step folders that are empty then; what a crash brings back is a leftover."""

    def delete(name: str) -> None:
        (folder / name).unlink(missing_ok=True)

    if isinstance(folder, RemotePath):
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(delete, names))
    else:
        for name in names:
            delete(name)
    drop_empty_folders(folder, {str(PurePosixPath(name).parent) for name in names})


def drop_empty_folders(folder: Location, names: Iterable[str]) -> None:
    """Remove those local folders that hold nothing; an object store has none."""
    if not isinstance(folder, Path):
        return
    for path in (folder / name for name in names):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def cache_folder(folder: Location) -> Path:
    """Where readers keep what they computed: in a local run itself; of a remote one in the user's cache."""
    if isinstance(folder, Path):
        return folder / CACHE
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "entropylab" / hashlib.sha256(folder.url.encode()).hexdigest()[:32]
