"""Which row files have been read from end to end and found whole, so that each is read once."""

from __future__ import annotations

import json
from collections.abc import Mapping

from .files import Location, Stamp, cache_folder, stamp_of, written_within
from .run_info import FORMAT_FIELD
from .writer import write_json

_MIN_AGE = 30.0


class VerifiedFiles:
    """The files of one run whose pages agreed with their checksums, by size and time of change."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._path = cache_folder(folder) / "verified.json"
        self._stamps: dict[str, list[int]] = self._load()
        self._new = False

    def holds(self, name: str, listed: Mapping[str, Stamp]) -> bool:
        """Whether the file was found whole; its stamp is that of a listing, or asked for."""
        known = self._stamps.get(name)
        return known is not None and known == self._stamp(name, listed)

    def add(self, name: str, listed: Mapping[str, Stamp]) -> None:
        """The file has just been read and is whole."""
        stamp = self._stamp(name, listed)
        if stamp is not None:
            self._stamps[name] = stamp
            self._new = True

    def save(self) -> None:
        """Keep what is known, unless that was done a moment ago."""
        try:
            recent = written_within(self._path, _MIN_AGE)
            if self._new and not recent:
                write_json(self._path, {FORMAT_FIELD: 1, "kind": "cache", "files": self._stamps})
                self._new = False
        except OSError:
            return  # a read-only run is read anew each time

    def _stamp(self, name: str, listed: Mapping[str, Stamp]) -> list[int] | None:
        try:
            stamp = listed.get(name) or stamp_of(self._folder / name)
        except OSError:
            return None
        return None if stamp is None or stamp[1] is None else [stamp[0], stamp[1]]

    def _load(self) -> dict[str, list[int]]:
        try:
            return dict(json.loads(self._path.read_bytes())["files"])
        except (OSError, ValueError, KeyError, TypeError):
            return {}
