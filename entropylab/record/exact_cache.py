"""What readers computed from token rows, kept in the run's cache folder; deleting it loses nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from .files import Location, Stamp, cache_folder, stamp_of
from .marker import Marker
from .merging import ExactRows
from .run_info import FORMAT_FIELD
from .writer import write_json

_WHOLE_STEP = "step"


class ExactCache:
    """Top means and quadrants of steps of several ranks, by step and the identity of their token files."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._known: dict[int, tuple[list[Any], ExactRows]] = {}

    def get(
        self, markers: tuple[Marker, ...], compute: Callable[[tuple[Marker, ...]], ExactRows]
    ) -> ExactRows:
        """The rows of a step, computed where they are not known or its token files have changed."""
        step, stamp = markers[0].step, self._stamp(markers)
        known = self._known.get(step) or self._load(step)
        if known is None or known[0] != stamp:
            known = (stamp, compute(markers))
            if known[1]:
                self._save(step, *known)
        self._known[step] = known
        return known[1]

    def _stamp(self, markers: tuple[Marker, ...]) -> list[Any]:
        """What identifies the token files: path, size and time of change."""
        stamp = []
        for marker in markers:
            path = self._folder / marker.tokens.path if marker.tokens else None
            size, changed = _known_stamp(path) or (None, None)
            stamp.append([marker.rank, str(path and path.name), size, changed])
        return stamp

    def _path(self, step: int) -> Location:
        return cache_folder(self._folder) / f"exact-{step:06d}.json"

    def _load(self, step: int) -> tuple[list[Any], ExactRows] | None:
        try:
            value = json.loads(self._path(step).read_bytes())
            rows = {None if k == _WHOLE_STEP else int(k): v for k, v in value["rows"].items()}
            return value["stamp"], rows
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return None  # a cache that cannot be read is computed again

    def _save(self, step: int, stamp: list[Any], rows: ExactRows) -> None:
        named = {_WHOLE_STEP if k is None else str(k): v for k, v in rows.items()}
        try:
            write_json(self._path(step), {FORMAT_FIELD: 1, "kind": "cache", "stamp": stamp, "rows": named})
        except OSError:
            return  # a read-only run is computed anew each time


def _known_stamp(path: Location | None) -> Stamp | None:
    try:
        return stamp_of(path) if path else None
    except OSError:
        return None  # problems() names a file that cannot be read
