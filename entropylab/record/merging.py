"""Markers of several ranks and updates as summary rows. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce

import numpy as np
import pandas as pd
import pyarrow as pa

from ..schema import SUMMARY_COLUMNS, Column
from .marker import Marker, UpdateSummary
from .pruned import WHOLE_STEP
from .summary import Partial, Row, finish

METRIC_PREFIX = "metrics/"

ExactRows = Mapping[int | None, Row]
"""Top means and quadrants by update; under None the top means of the whole step."""


def exact_rows_of(marker: Marker) -> ExactRows:
    """What does not merge over ranks, from the one marker of a step."""
    return {None: marker.top_means, **{u.update: u.exact for u in marker.updates}}


def recorded_exact(markers: Sequence[Marker]) -> ExactRows | None:
    """What does not merge over ranks, as the markers of a step hold it; None where only its rows can tell.

    Of one rank its marker does; of several that of the lowest, once rows were pruned.
    """
    if len(markers) == 1:
        return exact_rows_of(markers[0])
    kept = markers[0].exact_of_all_ranks
    if kept is None or kept.ranks != ranks_of(markers):
        return None  # never pruned, or a rank was recorded again since
    return exact_from_json(kept.rows)


def ranks_of(markers: Sequence[Marker]) -> tuple[tuple[int, int], ...]:
    """(rank, attempt) of markers."""
    return tuple((m.rank, m.attempt) for m in markers)


def exact_to_json(rows: ExactRows) -> dict[str, Row]:
    """Exact rows with keys of strings."""
    return {WHOLE_STEP if update is None else str(update): row for update, row in rows.items()}


def exact_from_json(value: Mapping[str, Row]) -> ExactRows:
    """The rows of `exact_to_json`; ValueError for other keys."""
    return {None if key == WHOLE_STEP else int(key): row for key, row in value.items()}


def update_rows(markers: Sequence[Marker], exact: ExactRows) -> list[dict[str, object]]:
    """One summary row an update of one step, over the ranks of ``markers``."""
    updates: dict[int, list[UpdateSummary]] = {}
    for marker in markers:
        for summary in marker.updates:
            updates.setdefault(summary.update, []).append(summary)
    common = _common(markers)
    return [
        {
            **common,
            "update": update,
            "n_updates": 1,
            "n_ranks": len(parts),
            **finish(merge_partials(p.partial for p in parts)),
            **exact.get(update, {}),
            **_metrics([p.metrics for p in parts]),
        }
        for update, parts in sorted(updates.items())
    ]


def step_row(markers: Sequence[Marker], exact: ExactRows) -> dict[str, object]:
    """One summary row of a step: statistics over the tokens of all updates, quadrants summed over them."""
    summaries = [s for marker in markers for s in marker.updates]
    rows = [exact.get(update, {}) for update in sorted({s.update for s in summaries})]
    return {
        **_common(markers),
        "n_updates": len(rows),
        "n_ranks": len(markers),
        **finish(merge_partials(s.partial for s in summaries)),
        **sum_rows(rows),
        **exact.get(None, {}),
        **_metrics([s.metrics for s in summaries]),
    }


def summary_frame(rows: Sequence[Mapping[str, object]], by: str) -> pd.DataFrame:
    """Rows as a frame with the columns of `schema.SUMMARY_COLUMNS`, then the metrics by name."""
    metrics = sorted({name for row in rows for name in row if name.startswith(METRIC_PREFIX)})
    columns = [c for c in SUMMARY_COLUMNS if by == "update" or c.name != "update"]
    data = {c.name: _series([row.get(c.name) for row in rows], c) for c in columns}
    for name in metrics:
        data[name] = pd.Series([row.get(name) for row in rows], dtype="float64")
    return pd.DataFrame(data)


def merge_partials(partials: Iterable[Partial]) -> Partial:
    """The summary of the union of disjoint sets of tokens."""
    return reduce(Partial.merge, partials) if (partials := list(partials)) else Partial()


def _common(markers: Sequence[Marker]) -> dict[str, object]:
    return {"step": markers[0].step, "recorded_at": max(m.created for m in markers)}


def _series(values: list[object], column: Column) -> pd.Series:
    if pa.types.is_timestamp(column.type):
        return pd.Series(pd.to_datetime(values, utc=True, format="ISO8601"))
    exact = pa.types.is_integer(column.type) and not column.nullable
    return pd.Series(values, dtype="int64" if exact else "float64")


def sum_rows(rows: Sequence[Row]) -> Row:
    """Sums of counts and masses, None where one is missing; top means do not add up and are left out."""
    names = {name for row in rows for name in row if not name.startswith("top_mean")}
    total: Row = {}
    for name in names:
        values = [row.get(name) for row in rows]
        known = [v for v in values if v is not None]
        total[name] = sum(known) if len(known) == len(values) else None
    return total


def _metrics(parts: Sequence[Mapping[str, float | None]]) -> dict[str, object]:
    """Mean of each scalar over the parts that gave it, None where one was not finite."""
    names = {name for part in parts for name in part}
    means: dict[str, object] = {}
    for name in names:
        values = [part[name] for part in parts if name in part]
        known = [v for v in values if v is not None]
        means[METRIC_PREFIX + name] = float(np.mean(known)) if len(known) == len(values) else None
    return means
