"""Warnings, each given once, about choices of tokens that do not do what their settings say."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import TokenBatch
    from .interfaces import SelectingControl

_INSIDE = (str(Path(__file__).parent) + os.sep, str(Path(torch.__file__).parent) + os.sep)
_TOLERANCE = 0.2
_ROUNDING = 2.0**-40
"""Covariances below it are what rounding the means leaves of constant fp64 inputs."""
_given: set[tuple[str, str]] = set()


def forget_advice() -> None:
    """Let every warning be given again."""
    _given.clear()


def advise(control: SelectingControl, batch: TokenBatch, covariance: Tensor) -> None:
    """Warn where the fraction is off by more than 20 % or all covariances are 0. Waits for the device."""
    _advise_fraction(control, int(batch.count))
    constant = batch.count > 1 and not _any(covariance, above=_ROUNDING) and _any(batch.signal)
    if constant:
        _once(
            control,
            "constant",
            "all covariances of this batch are 0 (its advantages or its logprobs are constant), so the "
            "choice of tokens means nothing; choose on the whole batch, not on one response of a group",
        )


def _advise_fraction(control: SelectingControl, n_tokens: int) -> None:
    budget = control.budget
    if budget.count is not None or budget.fraction is None or n_tokens == 0:
        return
    effective = budget.of(n_tokens) / n_tokens
    if abs(effective / budget.fraction - 1.0) > _TOLERANCE:
        _once(
            control,
            "fraction",
            f"fraction={budget.fraction:g} of {n_tokens} tokens is {budget.fraction * n_tokens:.3g}, so "
            f"{budget.of(n_tokens)} are chosen: effectively {effective:.2g}; choose on a larger token set",
        )


def _any(values: Tensor, above: float = 0.0) -> bool:
    return values.numel() > 0 and bool(values.abs().amax() > above)


def _once(control: SelectingControl, kind: str, text: str) -> None:
    key = (type(control).__name__, kind)
    if key not in _given:
        _given.add(key)
        warnings.warn(f"{type(control).__name__}: {text}", UserWarning, stacklevel=_level_of_the_caller())


def _level_of_the_caller() -> int:
    """Stack level, counted from ``_once``, of the first frame outside losses and torch."""
    frame, level = sys._getframe(1), 1
    while frame.f_back and frame.f_code.co_filename.startswith(_INSIDE):
        frame, level = frame.f_back, level + 1
    return level
