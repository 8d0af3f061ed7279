"""Warnings, each given once, about choices of tokens that do not do what their settings say."""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from .backend import torch
from .blocks import Rows
from .controls.clip_cov import ClipCov
from .controls.kl_cov import KLCov

if TYPE_CHECKING:
    from torch import Tensor

    from .interfaces import SelectingControl
    from .ranking import Covariances
    from .survey import Survey

_INSIDE = (str(Path(__file__).parent) + os.sep, str(Path(torch.__file__).parent) + os.sep)
_TOLERANCE = 0.2
_ROUNDING = 2.0**-40
"""Covariances below it are what rounding the means leaves of constant fp64 inputs."""
_ON_POLICY = 1e-6
"""Log-ratios up to it are rounding."""
_FLAT = ("abs_logratio", "k2", "k3")
"""Divergences without a gradient where the policies agree."""
_MANY_CALLS = 256
_ALL = Rows(slice(None))
_given: set[tuple[str, str]] = set()
_on_policy: dict[str, tuple[int, int]] = {}
"""Control -> the step since which no log-ratio was seen, and how many calls that were."""


def forget_advice() -> None:
    """Let every warning be given again."""
    _given.clear()
    _on_policy.clear()


def advise(control: SelectingControl, covariances: Covariances, positive: Tensor, candidates: Tensor) -> None:
    """Warn where a choice of tokens cannot do what its settings say. Waits for the device.

    That is: a fraction off by more than 20 %, covariances that are all 0, a band that no token reaches, and
    KL-Cov without any update off-policy.
    """
    found = covariances.found
    advise_fraction(control, int(found.count))
    if found.count > 1:
        if _varies(covariances, positive):
            if not bool(candidates > 0):
                _advise_band(control, covariances)
        elif _any(_inside(found, found.inputs["advantages"])):
            _advise_constant(control, found)
        _advise_on_policy(control, found)


def advise_fraction(control: SelectingControl, n_tokens: int) -> None:
    """Warn where the fraction of ``n_tokens`` that is chosen is off by more than 20 %."""
    budget = control.budget
    if budget.count is not None or budget.fraction is None or n_tokens == 0:
        return
    effective = budget.of(n_tokens) / n_tokens
    if abs(effective / budget.fraction - 1.0) > _TOLERANCE:
        _once(
            control,
            "fraction",
            f"fraction={budget.fraction:g} of {n_tokens} tokens is {budget.fraction * n_tokens:.3g}, so "
            f"{budget.of(n_tokens)} are chosen: effectively {effective:.2g}; "
            "choose on a larger token set, or raise the fraction",
        )


def _varies(covariances: Covariances, positive: Tensor) -> bool:
    """Whether some covariance is more than rounding; the sum of the positive ones mostly tells."""
    if bool(positive > _ROUNDING * covariances.found.count):
        return True
    return _any(covariances.at(_ALL)[0], above=_ROUNDING)


def _advise_constant(control: SelectingControl, found: Survey) -> None:
    one = int((found.lengths > 0).sum()) == 1
    reason = "one response, with one advantage" if one else "advantages or logprobs are constant"
    _once(
        control,
        "constant",
        f"all covariances of this batch are 0 ({reason}), so the choice of tokens means nothing; choose on "
        "the whole batch (select_tokens), not on one response of a group",
    )


def _advise_band(control: SelectingControl, covariances: Covariances) -> None:
    if not isinstance(control, ClipCov) or control.select != "band":
        return
    found = covariances.found
    values = covariances.at(_ALL)[0][found.inside]
    least, most = float(values.min()), float(values.max())
    if most <= control.low or least >= control.high:
        _once(
            control,
            "band",
            f"no token reaches its band ({control.low:g}, {control.high:g}), so nothing is chosen: the "
            f"covariances of this batch lie between {least:.3g} and {most:.3g}, and a certain token "
            f"(log π = 0) with the largest advantage would have {_reach(control, found):.3g}; "
            "suggest_settings finds a band, select='top' needs none",
        )


def _reach(control: ClipCov, found: Survey) -> float:
    """Covariance of a token of probability 1 with the largest advantage of the batch."""
    name = "logprobs" if control.covariance_on == "current" else "old_logprobs"
    logprobs, advantages = (_inside(found, found.inputs[x]).double() for x in (name, "advantages"))
    return float((advantages.max() - advantages.mean()) * -logprobs.mean())


def _inside(found: Survey, values: Tensor) -> Tensor:
    """[N]: the values of the valid tokens, from [B, T] or [B]."""
    values = values.detach()
    values = values.unsqueeze(1) if values.dim() == 1 else values
    return values.expand(found.shape)[found.inside]


def _advise_on_policy(control: SelectingControl, found: Survey) -> None:
    """The first update after a rollout is always on-policy; warn where no other came in a whole step."""
    if not isinstance(control, KLCov) or control.reference != "old" or control.divergence not in _FLAT:
        return
    kind, step = type(control).__name__, found.inputs["step"]
    if _off_policy(found):
        _on_policy.pop(kind, None)
        return
    first_step, calls = _on_policy.get(kind, (step, 0))
    _on_policy[kind] = (first_step, calls + 1)
    if step != first_step or calls + 1 >= _MANY_CALLS:
        _once(
            control,
            "on-policy",
            f"all log-ratios have been 0 since step {first_step}, so divergence={control.divergence!r} to "
            "the rollout policy has neither value nor gradient: the control does nothing. Take more than one "
            "update a rollout, or reference='ref', or a divergence over the full vocabulary",
        )


def _off_policy(found: Survey) -> bool:
    if found.losses is not None and bool(found.losses.totals.ratio_max > 1.0 + 2.0 * _ON_POLICY):
        return True
    logprobs, old_logprobs = found.inputs["logprobs"].detach(), found.inputs["old_logprobs"].detach()
    return _any((logprobs - old_logprobs).masked_fill(~found.inside, 0.0), above=_ON_POLICY)


def _any(values: Tensor, above: float = 0.0) -> bool:
    return values.numel() > 0 and bool(values.abs().nan_to_num(0.0).amax() > above)


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
