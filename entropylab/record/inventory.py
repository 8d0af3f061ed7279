"""What files a run folder holds, by name alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from .paths import (
    COMPACTED,
    EVALUATIONS,
    MARKERS,
    RESPONSES,
    TOKENS,
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
    """The files of a run: by kind, compacted ones, open recorders, temporaries, and what does not belong."""

    files: dict[str, tuple[StoredFile, ...]]
    compacted: dict[str, tuple[str, ...]]
    open_files: tuple[str, ...]
    temporaries: tuple[str, ...]
    foreign: tuple[str, ...]


def take_inventory(folder: Path) -> Inventory:
    """List a run folder without opening a file."""
    files: dict[str, list[StoredFile]] = {kind: [] for kind in _KINDS}
    compacted: dict[str, list[str]] = {kind: [] for kind in _KINDS}
    rest: dict[str, list[str]] = {"open": [], "temporary": [], "foreign": []}
    rest["temporary"] += [p.name for p in sorted(folder.iterdir()) if is_temporary(p.name)]
    for kind in _KINDS:
        for path in _walk(folder / kind):
            name = path.relative_to(folder).as_posix()
            stored = _stored(kind, path, name)
            if stored is not None:
                files[kind].append(stored)
            elif is_temporary(path.name):
                rest["temporary"].append(name)
            elif name.startswith(f"{kind}/{COMPACTED}") and name.endswith(".parquet"):
                compacted[kind].append(name)
            elif kind == MARKERS and parse_open_file(path.name):
                rest["open"].append(name)
            else:
                rest["foreign"].append(name)
    return Inventory(
        files={kind: tuple(found) for kind, found in files.items()},
        compacted={kind: tuple(found) for kind, found in compacted.items()},
        open_files=tuple(rest["open"]),
        temporaries=tuple(rest["temporary"]),
        foreign=tuple(rest["foreign"]),
    )


_KINDS = (TOKENS, RESPONSES, MARKERS, EVALUATIONS)


def _walk(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.is_dir():
                yield from _walk(path)
            else:
                yield path


def _stored(kind: str, path: Path, name: str) -> StoredFile | None:
    step = parse_step_folder(path.parent.name)
    if step is None or name.count("/") != 2:
        return None
    if kind == EVALUATIONS:
        attempt = parse_evaluation_file(path.name)
        return None if attempt is None else StoredFile(kind, name, step, 0, attempt)
    parsed = parse_rank_file(path.name)
    suffix = ".json" if kind == MARKERS else ".parquet"
    if parsed is None or path.suffix != suffix:
        return None
    return StoredFile(kind, name, step, *parsed)
