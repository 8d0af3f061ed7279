"""Imported steps through the real Recorder: arrays padded to [B, T], a bounded piece at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..record.recorder import Recorder
from ..schema import NO_PROMPT
from .steps import TOKEN_FIELDS, ImportedStep, Response

PIECE_CELLS = 2_000_000
"""Cells of the padded array [B, T] of one piece, so that a long response does not fill the memory."""


_FLOATS = ("old_logprobs", "ref_logprobs", "entropy")


def record_step(recorder: Recorder, step: ImportedStep) -> None:
    """Record one step, in the order of its responses; ``micro_step`` numbers the pieces of the import."""
    present = [name for name in TOKEN_FIELDS if any(getattr(r, name) is not None for r in step.responses)]
    centre = _centre(step.responses) if "clipped" in present else None
    for number, rows in enumerate(_pieces(step.responses)):
        optional: dict[str, Any] = {name: _padded(rows, name) for name in present if name in _FLOATS}
        recorder.record(
            step.step,
            None if centre is None else _out(rows, *centre),
            logprobs=_padded(rows, "logprobs"),
            advantages=_padded(rows, "advantages"),
            mask=_padded(rows, "mask", False),
            rewards=_rewards(step.responses, rows),
            prompt_ids=_ids(step.responses, rows, "prompt_id", NO_PROMPT),
            sample_ids=_ids(step.responses, rows, "sample_id", None),
            texts=_texts(step.responses, rows),
            micro_step=number,
            metrics=step.metrics if number == 0 else None,
            keep_empty=True,
            token_ids=_padded(rows, "token_ids", 0) if "token_ids" in present else None,
            **optional,
        )
    recorder.end_step(step.step)


def _pieces(responses: Sequence[Response]) -> Iterator[list[Response]]:
    """Runs of responses whose padded array stays within `PIECE_CELLS`; one empty run for no response."""
    piece: list[Response] = []
    longest = 0
    for response in responses:
        longest = max(longest, len(response.mask))
        if piece and longest * (len(piece) + 1) > PIECE_CELLS:
            yield piece
            piece, longest = [], len(response.mask)
        piece.append(response)
    yield piece


def _padded(rows: Sequence[Response], name: str, fill: Any = math.nan) -> np.ndarray:
    """One array [B, T] of a field, ``fill`` where a response is shorter or lacks the field."""
    width = max((len(r.mask) for r in rows), default=0)
    kind = {bool: bool, int: np.int64}.get(type(fill), np.float64)
    array = np.full((len(rows), width), fill, dtype=kind)
    for i, response in enumerate(rows):
        values = getattr(response, name)
        if values is not None:
            array[i, : len(values)] = values
    return array


def _centre(responses: Sequence[Response]) -> tuple[float, float]:
    """Mean log-probability and mean advantage over the tokens of the step."""
    masked = [(r.logprobs[r.mask], r.advantages[r.mask]) for r in responses]
    l, a = (np.concatenate(parts) if parts else np.empty(0) for parts in zip(*masked, strict=True))
    return (float(l.mean()), float(a.mean())) if l.size else (0.0, 0.0)


def _out(rows: Sequence[Response], mean_logprob: float, mean_advantage: float) -> SimpleNamespace:
    """The observed covariance over the whole step, and which tokens the trainer's loss clipped."""
    covariance = (_padded(rows, "logprobs") - mean_logprob) * (_padded(rows, "advantages") - mean_advantage)
    return SimpleNamespace(tokens={"covariance": covariance, "clipped": _padded(rows, "clipped", False)})


def _rewards(responses: Sequence[Response], rows: Sequence[Response]) -> np.ndarray | None:
    if all(r.reward is None for r in responses):
        return None
    return np.array([math.nan if r.reward is None else r.reward for r in rows], dtype=np.float64)


def _ids(
    responses: Sequence[Response], rows: Sequence[Response], name: str, missing: int | None
) -> np.ndarray | None:
    """Ids of the piece; None (the Recorder's own) where the source gives none or only some."""
    values = [getattr(r, name) for r in responses]
    if missing is None and any(v is None for v in values):
        return None
    found = [getattr(r, name) for r in rows]
    return np.array([missing if v is None else v for v in found], dtype=np.int64)


def _texts(responses: Sequence[Response], rows: Sequence[Response]) -> list[str] | None:
    if all(r.text is None for r in responses):
        return None
    return [r.text or "" for r in rows]
