"""Evaluations and problems of a run, kept in its cache folder by the identity of the files they tell of."""

from __future__ import annotations

from dataclasses import astuple, dataclass

from ..errors import RunFormatError
from . import summary_cache
from .files import Location, cache_folder, written_within
from .history import Evaluation
from .problem import Problem
from .run_info import FORMAT_FIELD, read_json
from .writer import write_json


@dataclass(frozen=True)
class Records:
    """The evaluations that count, and the problems that are told without opening a row file."""

    evaluations: tuple[Evaluation, ...]
    problems: tuple[Problem, ...]


class RecordsCache:
    """The records of one run; a file that cannot be read or written is as none."""

    def __init__(self, folder: Location) -> None:
        self._path = cache_folder(folder) / "records.json"
        self._known: tuple[str, Records] | None = None

    def get(self, identity: str | None) -> Records | None:
        """The records of files of this identity, None where there are none."""
        if identity is None:
            return None
        if self._known is None or self._known[0] != identity:
            self._known = self._load(identity)
        return self._known[1] if self._known else None

    def put(self, identity: str | None, records: Records) -> None:
        """Keep records; on disk unless that was done a moment ago."""
        if identity is None:
            return
        self._known = (identity, records)
        value = {
            FORMAT_FIELD: 1,
            "kind": "cache",
            "identity": identity,
            "evaluations": [astuple(e) for e in records.evaluations],
            "problems": [astuple(p) for p in records.problems],
        }
        try:
            if not written_within(self._path, summary_cache.MIN_AGE):
                write_json(self._path, value)
        except OSError:
            return  # a read-only run is looked through each time

    def _load(self, identity: str) -> tuple[str, Records] | None:
        try:
            value = read_json(self._path)
            if value["identity"] != identity:
                return None
            evaluations = tuple(Evaluation(*row) for row in value["evaluations"])
            return identity, Records(evaluations, tuple(Problem(*row) for row in value["problems"]))
        except (OSError, RunFormatError, KeyError, TypeError):
            return None
