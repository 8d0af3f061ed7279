"""Which attempt's record of a step counts, and which steps are whole. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from .marker import Marker


@dataclass(frozen=True)
class Evaluation:
    """One evaluation of the policy after ``step`` steps."""

    step: int
    split: str
    metric: str
    value: float
    n: int
    attempt: int

    @property
    def key(self) -> tuple[int, str, str, int]:
        """(step, split, metric, attempt)."""
        return self.step, self.split, self.metric, self.attempt


@dataclass(frozen=True)
class History:
    """Markers of whole steps, of steps with missing ranks, and those that a restart superseded."""

    whole: dict[int, tuple[Marker, ...]]
    incomplete: dict[int, tuple[Marker, ...]]
    superseded: tuple[Marker, ...]

    def missing_ranks(self, step: int) -> list[int]:
        """The ranks that an incomplete step lacks."""
        markers = self.incomplete[step]
        return sorted(set(range(_world_size(markers))) - {m.rank for m in markers})


def resolve(markers: Sequence[Marker]) -> History:
    """Sort markers into a history. An attempt's record wins from the first step it wrote on.

    A rank's own later attempt supersedes; so does a restart of rank 0 over what other ranks wrote before it.
    """
    first = _first_markers(markers)
    current: dict[int, list[Marker]] = {}
    superseded = []
    for marker in sorted(markers, key=lambda m: m.key):
        if any(_supersedes(start, marker) for start in first):
            superseded.append(marker)
        else:
            current.setdefault(marker.step, []).append(marker)
    whole = {step: _alike(found) for step, found in current.items() if len(found) == _world_size(found)}
    incomplete = {step: tuple(found) for step, found in current.items() if step not in whole}
    return History(whole, incomplete, tuple(superseded))


def steps_without(history: History, kind: str) -> list[int]:
    """The whole steps whose rows of a kind (tokens, responses) were pruned."""
    return sorted(step for step, markers in history.whole.items() if _is_pruned(markers, kind))


def _is_pruned(markers: Sequence[Marker], kind: str) -> bool:
    return any(m.pruned is not None and getattr(m.pruned, kind) for m in markers)


def _alike(markers: Sequence[Marker]) -> tuple[Marker, ...]:
    """The markers of a step. Where the rows of one rank were pruned, those of no other rank count.

    Else the rows of a rank that was recorded again, alone, would stand for those of all.
    """
    gone: dict[str, Any] = {kind: None for kind in ("tokens", "responses") if _is_pruned(markers, kind)}
    return tuple(replace(m, **gone) if gone else m for m in markers)


def first_steps(markers: Sequence[Marker]) -> dict[int, int]:
    """First step of each attempt of rank 0."""
    return {m.attempt: m.step for m in _first_markers(markers) if m.rank == 0}


def resolve_evaluations(
    evaluations: Sequence[Evaluation], first: dict[int, int]
) -> tuple[list[Evaluation], list[Evaluation]]:
    """(current, superseded): later attempts win from their first step on, and for the same key."""
    newest: dict[tuple[int, str, str], int] = {}
    for e in evaluations:
        key = (e.step, e.split, e.metric)
        newest[key] = max(newest.get(key, 0), e.attempt)
    current: list[Evaluation] = []
    superseded: list[Evaluation] = []
    for e in sorted(evaluations, key=lambda e: (e.step, e.split, e.metric, e.attempt)):
        replaced = newest[e.step, e.split, e.metric] > e.attempt
        overtaken = any(attempt > e.attempt and step <= e.step for attempt, step in first.items())
        (superseded if replaced or overtaken else current).append(e)
    return current, superseded


def _first_markers(markers: Sequence[Marker]) -> list[Marker]:
    """The first step's marker of each (rank, attempt)."""
    first: dict[tuple[int, int], Marker] = {}
    for marker in markers:
        key = marker.rank, marker.attempt
        if key not in first or marker.step < first[key].step:
            first[key] = marker
    return list(first.values())


def _supersedes(start: Marker, marker: Marker) -> bool:
    if start.step > marker.step:
        return False
    if start.rank == marker.rank:
        return start.attempt > marker.attempt
    if start.rank != 0:
        return False
    if marker.run_attempt is not None:
        return start.attempt > marker.run_attempt
    return start.attempt > 1 and start.attempt_started > marker.created  # clocks: logs of before


def _world_size(markers: Sequence[Marker]) -> int:
    return max(m.world_size for m in markers)
