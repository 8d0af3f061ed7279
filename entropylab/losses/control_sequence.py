"""Controls in a sequence: which go together, and what they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InvalidInputError
from .controls.clip_cov import ClipCov
from .controls.random_clip import RandomClip
from .interfaces import Control, SelectingControl


def as_controls(control: Any) -> tuple[Control, ...]:
    """No control, one or a sequence of them, as a tuple of controls that go together.

    Raises:
        InvalidInputError: something that is no control; the same kind twice; two controls that both drop
            gradients; or two that choose by covariances of different logprobs.
    """
    if control is None:
        return ()
    controls = (
        tuple(control) if isinstance(control, Sequence) and not isinstance(control, str) else (control,)
    )
    for one in controls:
        if isinstance(one, type) or not isinstance(one, Control):
            raise InvalidInputError(f"control={one!r} is not a control; give for example ClipCov.paper()")
    _refuse_repeats(controls)
    return controls


def covariance_on(controls: tuple[Control, ...]) -> str:
    """Logprobs of the covariance that the controls choose by and the log holds."""
    return next((one.covariance_on for one in controls if isinstance(one, SelectingControl)), "current")


def _refuse_repeats(controls: tuple[Control, ...]) -> None:
    kinds = [type(one).__name__ for one in controls]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise InvalidInputError(
                f"control holds {kind} more than once; give one with the settings you want"
            )
    dropping = [type(one).__name__ for one in controls if isinstance(one, (ClipCov, RandomClip))]
    if len(dropping) > 1:
        raise InvalidInputError(
            f"control holds {' and '.join(dropping)}, which both drop gradients; give one"
        )
    bases = {type(one).__name__: one.covariance_on for one in controls if isinstance(one, SelectingControl)}
    if len(set(bases.values())) > 1:
        named = ", ".join(f"{kind} has covariance_on={base!r}" for kind, base in bases.items())
        raise InvalidInputError(f"controls choose by different covariances: {named}; give both the same")
