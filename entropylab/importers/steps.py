"""What every importer yields: steps of responses, and evaluations."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from .faults import Faults, RecordError

TOKEN_FIELDS = ("token_ids", "old_logprobs", "ref_logprobs", "entropy", "clipped")
"""Arrays of a response that a source may lack."""


@dataclass(frozen=True)
class Response:
    """One response. Arrays [T] over its tokens (T = 0: the source holds no tokens); None: not in the source.

    logprobs, old_logprobs, ref_logprobs, entropy in nats; advantages [T]; clipped bool.
    """

    mask: np.ndarray = field(default_factory=lambda: np.empty(0, bool))
    logprobs: np.ndarray = field(default_factory=lambda: np.empty(0))
    advantages: np.ndarray = field(default_factory=lambda: np.empty(0))
    token_ids: np.ndarray | None = None
    old_logprobs: np.ndarray | None = None
    ref_logprobs: np.ndarray | None = None
    entropy: np.ndarray | None = None
    clipped: np.ndarray | None = None
    reward: float | None = None
    sample_id: int | None = None
    prompt_id: int | None = None
    text: str | None = None

    def trimmed(self, inside: np.ndarray) -> Response:
        """The same from the first to the last token ``inside`` (bool [T]): positions count from there."""
        if not inside.any():
            return self
        first, last = int(inside.argmax()), len(inside) - int(inside[::-1].argmax())
        arrays = {name: getattr(self, name) for name in ("mask", "logprobs", "advantages", *TOKEN_FIELDS)}
        cut: dict[str, Any] = {name: None if x is None else x[first:last] for name, x in arrays.items()}
        return replace(self, **cut)


@dataclass(frozen=True)
class ImportedStep:
    """The responses that one step of the trainer learned from, and scalars of that step."""

    step: int
    responses: Sequence[Response]
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ImportedEvaluation:
    """One evaluation: ``value`` of ``metric`` over ``n`` problems after ``step`` steps."""

    step: int
    metric: str
    value: float
    n: int
    split: str = "validation"


@dataclass
class Context:
    """What an importer is given: where faults go, a scratch folder, and notes for the run's config."""

    faults: Faults
    scratch: Path
    notes: dict[str, Any] = field(default_factory=dict)


def usable_tokens(mask: np.ndarray, *needed: tuple[str, np.ndarray]) -> tuple[np.ndarray, str | None]:
    """The mask without tokens that lack a finite needed value, and a sentence where there were some.

    Raises `RecordError` where no token is left.
    """
    finite = np.logical_and.reduce([np.isfinite(values) for _, values in needed])
    left = mask & finite
    lost = int(mask.sum() - left.sum())
    names = " or ".join(name for name, _ in needed)
    if mask.any() and not left.any():
        raise RecordError(f"no token of the response has a finite {names}")
    return (
        left,
        f"{lost} of {int(mask.sum())} tokens have no finite {names} and are left out" if lost else None,
    )
