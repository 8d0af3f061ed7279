"""The summary frame of a run, kept in its cache folder by the identity of the files it was made of."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from .files import Location, cache_folder, written_within
from .writer import write_parquet

_KEY = b"entropylab_summary"

MIN_STEPS = 16
"""Fewer steps are read as fast from their markers."""

MIN_AGE = 30.0
"""Seconds between two writes of the cache of a run that grows."""


@dataclass(frozen=True)
class Summary:
    """The frame of `Run.steps`, and what of the markers other look-ups need."""

    frame: pd.DataFrame
    first_steps: dict[int, int]
    token_steps: list[int]


class SummaryCache:
    """Summaries of one run by ``by``; a file that cannot be read or written is as none."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._known: dict[str, tuple[str, Summary]] = {}

    def get(self, by: str, identity: str | None) -> Summary | None:
        """The summary made of files of this identity, None where there is none."""
        if identity is None:
            return None
        known = self._known.get(by)
        if known is None or known[0] != identity:
            summary = self._load(by, identity)
            if summary is None:
                return None
            self._known[by] = (identity, summary)
        return self._known[by][1]

    def put(self, by: str, identity: str | None, summary: Summary) -> None:
        """Keep a summary; on disk where it saves time and was not written a moment ago."""
        if identity is None:
            return
        self._known[by] = (identity, summary)
        if len(summary.first_steps) and summary.frame["step"].nunique() >= MIN_STEPS:
            self._save(by, identity, summary)

    def _path(self, by: str) -> Any:
        return cache_folder(self._folder) / f"summary-{by}.parquet"

    def _load(self, by: str, identity: str) -> Summary | None:
        try:
            table = pq.read_table(self._path(by), page_checksum_verification=True)
            note = json.loads((table.schema.metadata or {})[_KEY])
            if note["identity"] != identity:
                return None
            first = {int(attempt): int(step) for attempt, step in note["first_steps"].items()}
            return Summary(table.to_pandas(), first, [int(step) for step in note["token_steps"]])
        except (OSError, pa.ArrowException, KeyError, ValueError, TypeError, AttributeError):
            return None

    def _save(self, by: str, identity: str, summary: Summary) -> None:
        note = {
            "identity": identity,
            "first_steps": summary.first_steps,
            "token_steps": summary.token_steps,
        }
        table = pa.Table.from_pandas(summary.frame, preserve_index=False)
        metadata = {**(table.schema.metadata or {}), _KEY: json.dumps(note).encode()}
        path = self._path(by)
        try:
            if written_within(path, MIN_AGE):
                return
            write_parquet(path, table.replace_schema_metadata(metadata))
        except OSError:
            return  # a read-only run is computed anew each time
