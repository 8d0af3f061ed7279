"""The markers of a step whose rows go: they say so, and hold what only the rows could tell."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from ..errors import RunFormatError
from .files import Location, Stamp
from .marker import Marker
from .merged_files import ref_of
from .merging import (
    ExactRows,
    exact_from_json,
    exact_to_json,
    ranks_of,
    recorded_exact,
    step_row,
    update_rows,
)
from .pruned import ExactOfRanks, Pruned
from .row_places import Kind
from .run_info import now
from .snapshot import Snapshot
from .step_cache import EXACT, StepCache
from .step_source import StepSource

Step = tuple[Marker, ...]
"""The markers of one whole step, by rank."""


def without_rows(snapshot: Snapshot, step: Step, kinds: Sequence[Kind]) -> Step:
    """The markers of a step without rows, with what only the rows could tell; the summaries are compared."""
    exact = _exact(snapshot.folder, step, snapshot.inventory.stamps)
    found = [_marker_without(m, kinds) for m in step]
    if len(step) > 1 and exact and found[0].exact_of_all_ranks is None:
        kept = ExactOfRanks(ranks_of(step), exact_to_json(exact))
        found[0] = replace(found[0], exact_of_all_ranks=kept)
    _check_summary(snapshot.folder, step, exact, found)
    return tuple(found)


def _marker_without(marker: Marker, kinds: Sequence[Kind]) -> Marker:
    earlier = marker.pruned or Pruned("", 0, 0)
    lost: dict[str, Any] = {kind: ref.rows for kind in kinds if (ref := ref_of(marker, kind)) is not None}
    gone: dict[str, Any] = dict.fromkeys(lost)
    return replace(marker, pruned=replace(earlier, at=now(), **lost), **gone) if lost else marker


def _exact(folder: Location, step: Step, stamps: Mapping[str, Stamp]) -> ExactRows:
    """Top means and quadrants as `Run.steps` shows them; none where not all tokens are rows."""
    recorded = recorded_exact(step)
    if recorded is not None:
        return recorded
    source = StepSource.of(folder, step, stamps)
    if not source.stored:
        return {}
    known = StepCache(folder, EXACT).get(source)
    return source.exact() if known is None else exact_from_json(known)


def _check_summary(folder: Location, old: Step, exact: ExactRows, new: Sequence[Marker]) -> None:
    """`RunFormatError` unless the new markers, read back, give the same rows of summaries."""
    texts = [json.dumps(m.to_json(), allow_nan=False) for m in new]
    read = [Marker.from_json(json.loads(text), f"step {m.step}") for m, text in zip(new, texts, strict=True)]
    kept = recorded_exact(read) or {}
    if step_row(read, kept) == step_row(old, exact) and update_rows(read, kept) == update_rows(old, exact):
        return
    raise RunFormatError(f"{folder}: the summary of step {old[0].step} would change; nothing was deleted")
