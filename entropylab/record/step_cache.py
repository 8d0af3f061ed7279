"""What readers made of the rows of a step, kept in the run's cache folder; deleting it loses nothing."""

from __future__ import annotations

from typing import Any

from ..errors import RunFormatError
from .files import Location, cache_folder
from .run_info import FORMAT_FIELD, read_json
from .step_source import StepSource
from .writer import write_json

EXACT, RECOMPUTED = "exact", "recomputed"
"""Kinds of what is kept: top means and quadrants of several ranks; whole summaries made of the rows."""


class StepCache:
    """One kind of JSON values by step and the identity of its row files.

    Each is a file of its own that is replaced as a whole, so that a run that grows adds only its new steps
    and readers beside each other see the old value or the new one. What cannot be read is as none.
    """

    def __init__(self, folder: Location, kind: str) -> None:
        self._folder = folder
        self._kind = kind
        self._known: dict[int, tuple[list[Any], dict[str, Any]]] = {}

    def get(self, source: StepSource) -> dict[str, Any] | None:
        """What is known of a step, None where nothing is or its files have changed."""
        known = self._known.get(source.step) or self._load(source.step)
        if known is None or known[0] != source.identity:
            return None
        self._known[source.step] = known
        return known[1]

    def put(self, source: StepSource, value: dict[str, Any]) -> None:
        """Keep what was made of a step; where it cannot be written, as long as this object lives."""
        self._known[source.step] = (source.identity, value)
        kept = {FORMAT_FIELD: 1, "kind": "cache", "identity": source.identity, "value": value}
        try:
            write_json(self._path(source.step), kept)
        except OSError:
            return

    def _path(self, step: int) -> Location:
        return cache_folder(self._folder) / f"{self._kind}-{step:06d}.json"

    def _load(self, step: int) -> tuple[list[Any], dict[str, Any]] | None:
        try:
            kept = read_json(self._path(step))
            return kept["identity"], kept["value"]
        except (OSError, RunFormatError, KeyError):
            return None
