"""What files a run folder holds, by name alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .files import Location, Stamp, list_files
from .paths import (
    COMPACTED,
    EVALUATIONS,
    MARKERS,
    RESPONSES,
    TOKENS,
    is_lock,
    is_temporary,
    parse_evaluation_file,
    parse_open_file,
    parse_rank_file,
    parse_step_folder,
)


@dataclass(frozen=True)
class StoredFile:
    """One file of a rank and step (rank 0 for evaluations), with its path inside the run."""

    kind: str
    path: str
    step: int
    rank: int
    attempt: int


@dataclass(frozen=True)
class Inventory:
    """The files of a run: by kind, compacted ones, open recorders, temporaries, and what does not belong.

    ``stamps``: of the files whose stamp the listing told. ``unreadable``: folders that cannot be listed.
    """

    files: dict[str, tuple[StoredFile, ...]]
    compacted: dict[str, tuple[str, ...]]
    open_files: tuple[str, ...]
    temporaries: tuple[str, ...]
    foreign: tuple[str, ...]
    stamps: Mapping[str, Stamp]
    unreadable: Mapping[str, OSError]


def take_inventory(folder: Location) -> Inventory:
    """List a run folder without opening a file."""
    files: dict[str, list[StoredFile]] = {kind: [] for kind in _KINDS}
    compacted: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    rest: dict[str, list[str]] = {"open": [], "temporary": [], "foreign": []}
    listing = list_files(folder, _KINDS)
    for name in listing.names:
        kind, last = name.split("/", 1)[0], name.rsplit("/", 1)[-1]
        stored = _stored(kind, name) if kind in _KINDS else None
        if stored is not None:
            files[kind].append(stored)
        elif is_temporary(last):
            rest["temporary"].append(name)
        elif kind not in _KINDS or is_lock(last):
            continue
        elif name.startswith(f"{kind}/{COMPACTED}") and name.endswith(".parquet"):
            compacted[kind].append(name)
        elif kind == MARKERS and parse_open_file(last):
            rest["open"].append(name)
        else:
            rest["foreign"].append(name)
    return Inventory(
        files={kind: tuple(found) for kind, found in files.items()},
        compacted={kind: tuple(found) for kind, found in compacted.items()},
        open_files=tuple(rest["open"]),
        temporaries=tuple(rest["temporary"]),
        foreign=tuple(rest["foreign"]),
        stamps=listing.stamps,
        unreadable=listing.unreadable,
    )


_KINDS = (TOKENS, RESPONSES, MARKERS, EVALUATIONS)


def _stored(kind: str, name: str) -> StoredFile | None:
    parts = name.split("/")
    step = parse_step_folder(parts[1]) if len(parts) == 3 else None
    if step is None:
        return None
    if kind == EVALUATIONS:
        attempt = parse_evaluation_file(parts[2])
        return None if attempt is None else StoredFile(kind, name, step, 0, attempt)
    parsed = parse_rank_file(parts[2])
    suffix = ".json" if kind == MARKERS else ".parquet"
    if parsed is None or not parts[2].endswith(suffix):
        return None
    return StoredFile(kind, name, step, *parsed)
