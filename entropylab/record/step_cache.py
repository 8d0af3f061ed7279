"""What readers made of the rows of a step, kept in the run's cache folder; deleting it loses nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..errors import RunFormatError
from .files import Location, Stamp, cache_folder, stamp_of
from .marker import Marker
from .run_info import FORMAT_FIELD, read_json
from .writer import write_json

EXACT, RECOMPUTED = "exact", "recomputed"
"""Kinds of what is kept: top means and quadrants of several ranks; whole summaries made of the rows."""

KERNEL_VERSION = 2
"""Changes where the same rows would give other numbers."""

Stamps = Mapping[str, Stamp]
"""The stamps that a listing told, by path; others are asked for."""


class StepCache:
    """One kind of JSON values by step and by name, size and time of change of its row files.

    Each is a file of its own that is replaced as a whole, so that a run that grows adds only its new steps
    and readers beside each other see the old value or the new one. What cannot be read is as none.
    """

    def __init__(self, folder: Location, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._known: dict[int, tuple[list[Any], dict[str, Any]]] = {}

    def get(self, markers: tuple[Marker, ...], stamps: Stamps) -> dict[str, Any] | None:
        """What is known of a step, None where nothing is or its files have changed."""
        step = markers[0].step
        known = self._known.get(step) or self._load(step)
        if known is None or known[0] != self._identity(markers, stamps):
            return None
        self._known[step] = known
        return known[1]

    def put(self, markers: tuple[Marker, ...], stamps: Stamps, value: dict[str, Any]) -> None:
        """Keep what was made of a step; where it cannot be written, as long as this object lives."""
        step, identity = markers[0].step, self._identity(markers, stamps)
        self._known[step] = (identity, value)
        kept = {FORMAT_FIELD: 1, "kind": "cache", "identity": identity, "value": value}
        try:
            write_json(self._path(step), kept)
        except OSError:
            return

    def _identity(self, markers: tuple[Marker, ...], stamps: Stamps) -> list[Any]:
        refs = [ref for m in markers for ref in (m.tokens, m.responses) if ref is not None]
        found: list[Any] = [KERNEL_VERSION, [[m.rank, m.attempt] for m in markers]]
        for ref in refs:
            size, changed = stamps.get(ref.path) or self._stamp(ref.path) or (None, None)
            found.append([ref.path, ref.rows, size, changed])
        return found

    def _stamp(self, path: str) -> Stamp | None:
        try:
            return stamp_of(self._folder / path)
        except OSError:
            return None  # problems() names a file that cannot be read

    def _path(self, step: int) -> Location:
        return cache_folder(self._folder) / f"{self._kind}-{step:06d}.json"

    def _load(self, step: int) -> tuple[list[Any], dict[str, Any]] | None:
        try:
            kept = read_json(self._path(step))
            return kept["identity"], kept["value"]
        except (OSError, RunFormatError, KeyError):
            return None
