"""The reader of run folders: pure look-ups, nothing is changed but the cache."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, Self

import pandas as pd
import pyarrow as pa

from ..errors import FileChangedError, RunFormatError, UnknownNameError
from ..schema import RESPONSE_COLUMNS, TOKEN_COLUMNS
from .files import Location
from .following import follow_rows
from .history import Evaluation, first_steps, steps_without
from .identity import identity_of_records, identity_of_summary
from .inventory import Inventory, take_inventory
from .merging import (
    ExactRows,
    exact_from_json,
    exact_to_json,
    recorded_exact,
    step_row,
    summary_frame,
    update_rows,
)
from .paths import MARKERS, location
from .problem import Problem
from .problems import find_problems
from .records_cache import Records, RecordsCache
from .remote import RemotePath
from .row_files import Rows
from .row_places import COLUMNS, Kind, RowFile, row_files
from .run_search import run_info_of, runs_below
from .snapshot import Snapshot, SnapshotReader, markers_of
from .step_cache import EXACT, StepCache
from .step_source import StepSource, places
from .summary_cache import Summary, SummaryCache
from .verified_files import VerifiedFiles
from .vocabulary import vocabulary_of
from .wanted_steps import check_stored, concerns, wanted_steps

__all__ = ["Problem", "Run", "open_run", "open_runs"]


class Run:
    """One run folder. Every call looks at the folder as it is now, so a run under way can be followed."""

    def __init__(self, path: str | os.PathLike[str] | RemotePath) -> None:
        self.path: Location = location(path)
        self.info: dict[str, Any] = run_info_of(self.path)
        self._snapshots = SnapshotReader(self.path)
        self._caches: dict[str, StepCache] = {}
        self._summaries = SummaryCache(self.path)
        self._records = RecordsCache(self.path)
        self._listed: Inventory | None = None
        self._verified: VerifiedFiles | None = None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, method={self.method!r})"

    @property
    def name(self) -> str:
        """Name of the folder."""
        return self.path.resolve().name

    @property
    def id(self) -> str:
        """Unique id of the run, the same over its attempts."""
        return str(self.info["id"])

    @property
    def method(self) -> str:
        """Label of the method, "unknown" where none was given."""
        return str(self.info.get("method") or "unknown")

    @property
    def config(self) -> dict[str, Any]:
        """Settings of the newest attempt."""
        return self.info["config"]

    @cached_property
    def vocabulary(self) -> tuple[str, ...]:
        """The text of each token id; empty where none was recorded."""
        return vocabulary_of(self.path, self.config)

    def frozen(self) -> Self:
        """The run as its folder is now: the copy's summaries, evaluations and problems stay of this moment,
        and the folder is listed once for all of them. Rows that are moved meanwhile are still found. A frozen
        run is its own.
        """
        if self._listed is not None:
            return self
        still = copy.copy(self)
        still._listed = take_inventory(self.path)
        return still

    def steps(self, by: str = "step") -> pd.DataFrame:
        """The exact summaries, one row a step or (``by="update"``) an update.

        Columns: `schema.SUMMARY_COLUMNS`, then ``metrics/<name>``. Steps that are not whole are left out;
        `problems` names them.
        """
        if by not in ("step", "update"):
            raise UnknownNameError(f"by must be 'step' or 'update', got {by!r}")
        return self._summary(by).frame.copy()

    def evaluations(self) -> pd.DataFrame:
        """All evaluations: step, split, metric, value, n."""
        columns = {"step": "int64", "split": "object", "metric": "object", "value": "float64", "n": "int64"}
        found = self._evaluations()
        data = {c: pd.Series([getattr(e, c) for e in found], dtype=kind) for c, kind in columns.items()}
        return pd.DataFrame(data)

    def whole_steps(self) -> list[int]:
        """The steps that every rank has written; what `steps` summarizes, without reading the summaries."""
        return self._summary("step").frame["step"].tolist()

    def token_steps(self) -> list[int]:
        """The whole steps that have token rows."""
        return list(self._summary("step").token_steps)

    def pruned_steps(self) -> list[int]:
        """The whole steps whose token rows were pruned; their summaries are kept."""
        return steps_without(self._snapshot().history, "tokens")

    def stored_rows(self) -> int:
        """Token rows of the whole steps, from the markers alone."""
        return sum(m.tokens.rows for m in markers_of(self._snapshot(), None) if m.tokens)

    def tokens(
        self, steps: int | Iterable[int] | None = None, columns: Sequence[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Token rows by step and rank as record batches; columns: `schema.TOKEN_COLUMNS`.

        Raises `RunFormatError` naming a file that cannot be read, `RunNotFoundError` for a step without
        token rows, `UnknownNameError` for a column that does not exist.
        """
        wanted = wanted_steps(steps)
        snapshot = self._readable(wanted)
        check_stored(snapshot, wanted, self.path)
        rows = [Rows(m.step, m.rank, m.tokens) for m in markers_of(snapshot, wanted) if m.tokens]
        return follow_rows(self.path, rows, TOKEN_COLUMNS, columns, partial(places, self.path, "tokens"))

    def responses(self, steps: int | Iterable[int] | None = None) -> Iterator[pa.RecordBatch]:
        """Response rows by step and rank as record batches; columns: `schema.RESPONSE_COLUMNS`.

        Raises `RunFormatError` naming a file that cannot be read.
        """
        wanted = wanted_steps(steps)
        snapshot = self._readable(wanted)
        rows = [Rows(m.step, m.rank, m.responses) for m in markers_of(snapshot, wanted) if m.responses]
        return follow_rows(self.path, rows, RESPONSE_COLUMNS, None, partial(places, self.path, "responses"))

    def row_files(self, kind: Kind = "tokens") -> list[RowFile]:
        """The Parquet files of the rows that count, for engines that read them as they are.

        ``kind``: ``tokens`` or ``responses``. Raises `RunFormatError` naming a file that is not whole.
        """
        if kind not in COLUMNS:
            raise UnknownNameError(f"kind must be 'tokens' or 'responses', got {kind!r}")
        return row_files(self.path, markers_of(self._readable(None), None), kind)

    def sql(self, text: str) -> pd.DataFrame:
        """One SELECT over the views ``tokens``, ``responses``, ``steps`` and ``evaluations``, through DuckDB.

        Raises `InvalidInputError` for any other statement or one that DuckDB refuses, `MissingExtraError`
        without DuckDB (``pip install 'entropylab-rl[sql]'``).
        """
        from .sql import query

        return query([(self.name, self)], text).to_pandas()

    def problems(self, pages: bool | None = None, *, rows: bool = True) -> list[Problem]:
        """Everything that is wrong with the folder, by name; empty when all is well.

        ``rows``: whether the files of token and response rows are opened; what needs the summaries alone can
        leave them. ``pages``: whether every page of those files is compared with its checksum, once a file,
        which reads them whole; None: of a local run. Without it only footers and numbers of rows are looked
        at; a damaged page raises `RunFormatError` when it is read, in any case.
        """
        if pages is None:
            pages = not isinstance(self.path, RemotePath)
        if not rows:
            return list(self._known_records().problems)
        if not pages:
            return find_problems(self._snapshot())
        verified = VerifiedFiles(self.path) if self._verified is None else self._verified
        self._verified = verified
        found = find_problems(self._snapshot(), verified)
        verified.save()
        return found

    def step_sources(self, steps: int | Iterable[int] | None = None) -> list[StepSource]:
        """The whole steps, as what an engine needs to read each of them anywhere.

        ``steps``: those alone; `RunNotFoundError` for one without token rows.
        """
        wanted, snapshot = wanted_steps(steps), self._snapshot()
        check_stored(snapshot, wanted, self.path)
        return list(self._sources(snapshot, wanted))

    def step_cache(self, kind: str) -> StepCache:
        """What readers made of the rows of single steps; kinds: `step_cache.EXACT`, `RECOMPUTED`."""
        return self._caches.setdefault(kind, StepCache(self.path, kind))

    def _sources(self, snapshot: Snapshot, wanted: set[int] | None = None) -> Iterator[StepSource]:
        for step, markers in sorted(snapshot.history.whole.items()):
            if wanted is None or step in wanted:
                yield StepSource.of(self.path, markers, snapshot.inventory.stamps)

    def _inventory(self) -> Inventory:
        return self._listed or take_inventory(self.path)

    def _snapshot(self) -> Snapshot:
        return self._snapshots.take(self._inventory())

    def _evaluations(self) -> Sequence[Evaluation]:
        inventory = self._inventory()
        known = self._records.get(identity_of_records(self.path, inventory))
        if known is not None:
            return known.evaluations
        return self._snapshots.evaluations(inventory, self._summary("step", inventory).first_steps)

    def _known_records(self) -> Records:
        """Evaluations and problems of the folder, from the cache where its files are the same."""
        inventory = self._inventory()
        identity = identity_of_records(self.path, inventory)
        known = self._records.get(identity)
        if known is None:
            snapshot = self._snapshots.take(inventory)
            known = Records(snapshot.evaluations, tuple(find_problems(snapshot, rows=False)))
            if not snapshot.unreadable:
                self._records.put(identity, known)
        return known

    def _summary(self, by: str, inventory: Inventory | None = None) -> Summary:
        """The summaries of the folder, from the cache where its files are the same."""
        inventory = inventory or self._inventory()
        several = any(attempt.get("world_size", 1) > 1 for attempt in self.info["attempts"])
        identity = identity_of_summary(self.path, inventory, several)
        summary = self._summaries.get(by, identity)
        if summary is None:
            summary = self._summarize(by, self._snapshots.take(inventory))
            self._summaries.put(by, identity, summary)
        return summary

    def _summarize(self, by: str, snapshot: Snapshot) -> Summary:
        rows: list[dict[str, object]] = []
        whole = sorted(snapshot.history.whole.items())
        for source in self._sources(snapshot):
            exact = self._exact_rows(source)
            rows += [step_row(source.markers, exact)] if by == "step" else update_rows(source.markers, exact)
        stored = [step for step, markers in whole if any(m.tokens for m in markers)]
        return Summary(summary_frame(rows, by), first_steps(snapshot.markers), stored)

    def _exact_rows(self, source: StepSource) -> ExactRows:
        """Top means and quadrants: from the marker of one rank, from all token rows of several, or none."""
        recorded = recorded_exact(source.markers)
        if recorded is not None:
            return recorded
        if not source.stored:
            return {}
        cache = self.step_cache(EXACT)
        known = cache.get(source)
        if known is not None:
            return exact_from_json(known)
        try:
            rows = _exact_of(source)
        except RunFormatError:
            return {}  # problems() names the file; the merged moments do not need it
        cache.put(source, exact_to_json(rows))
        return rows

    def _readable(self, steps: set[int] | None) -> Snapshot:
        """A snapshot, with `RunFormatError` if a marker of the wanted steps cannot be read."""
        snapshot = self._snapshot()
        for problem in snapshot.unreadable:
            if problem.path.startswith(MARKERS) and concerns(problem.path, steps):
                raise RunFormatError(problem.message)
        return snapshot


def _exact_of(source: StepSource) -> ExactRows:
    """What the rows give, read once more where a compaction moved them meanwhile."""
    try:
        return source.exact()
    except FileChangedError:
        return source.exact()


def open_run(path: str | os.PathLike[str] | RemotePath) -> Run:
    """Open the run in a folder or at a URL; `RunNotFoundError`, or `RunFormatError` if foreign or newer."""
    return Run(path)


def open_runs(path: str | os.PathLike[str] | RemotePath) -> list[Run]:
    """Every run at or below a folder or URL, sorted; `RunNotFoundError` where there is none."""
    return [Run(where) for where in runs_below(location(path))]
