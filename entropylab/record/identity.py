"""Hashes that change with the files of a run, by which what was made of them is kept."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from typing import Any

from .. import __version__
from ..schema import SUMMARY_COLUMNS
from .files import Location, stamp_of
from .inventory import Inventory
from .paths import EVALUATIONS, MARKERS, RESPONSES, TOKENS


def identity_of_summary(folder: Location, inventory: Inventory, several_ranks: bool) -> str | None:
    """A hash of name, size and time of change of all markers, with several ranks also of all token files.

    None where the store does not tell when a file was changed, or a file vanished meanwhile.
    """
    several_ranks = several_ranks or any(f.rank for f in inventory.files[MARKERS])
    kinds = (MARKERS, TOKENS) if several_ranks else (MARKERS,)
    return _identity(folder, inventory, kinds, [c.name for c in SUMMARY_COLUMNS])


def identity_of_records(folder: Location, inventory: Inventory) -> str | None:
    """A hash of the names of all files, and of size and time of change of markers and evaluations.

    None as above, and while a recorder is open or died: whether its process runs is told by no file.
    """
    if inventory.open_files:
        return None
    names = [[f.path for f in inventory.files[kind]] for kind in (TOKENS, RESPONSES)]
    names += [list(inventory.compacted[kind]) for kind in (TOKENS, RESPONSES)]
    rest = [list(inventory.temporaries), list(inventory.foreign)]
    return _identity(folder, inventory, (MARKERS, EVALUATIONS), names + rest)


def _identity(folder: Location, inventory: Inventory, stamped: Iterable[str], named: list[Any]) -> str | None:
    parts: list[Any] = [__version__, named, sorted(inventory.unreadable)]
    for kind in stamped:
        for name in (*(f.path for f in inventory.files[kind]), *inventory.compacted[kind]):
            try:
                stamp = inventory.stamps.get(name) or stamp_of(folder / name)
            except OSError:
                return None
            if stamp is None or stamp[1] is None:
                return None
            parts.append([name, *stamp])
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
