"""A control as changed advantages A' [B, T]: the trainer's own loss of A' is the controlled loss of A.

The trainer's loss of a token is -min(r·A, c·A), c = clamp(r). A weight w makes A' = w·A. A penalty p makes
A' = (min(r·A, c·A) - p) / s, where s is the one of r and c that the minimum takes for that sign: then
-min(r·A', c·A') = -min(r·A, c·A) + p, in value and gradient.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch

from ...losses.controls.kl_cov import KLCov
from ...losses.policy_loss import PolicyLoss, policy_loss
from .micro_batch import MicroBatch

if TYPE_CHECKING:
    from torch import Tensor

    from ...losses.collective import Selection
    from .settings import TrainerSettings

_LOG_RATIO_LIMIT = 20.0
"""Log-ratios are clamped to ± this, as in the losses."""


def changed_advantages(
    control: Any,
    batch: MicroBatch,
    selection: Selection | None,
    settings: TrainerSettings,
    step: int,
) -> tuple[Tensor, PolicyLoss]:
    """A' [B, T], with gradient where a penalty has one, and what the recorder keeps of the control."""
    with torch.no_grad():
        out = policy_loss(
            batch.logprobs.detach(),
            batch.old_or_current,
            batch.advantages,
            batch.learning,
            surrogate=settings.surrogate,
            control=control,
            entropy=batch.entropy,
            ref_logprobs=batch.ref_logprobs,
            selection=selection,
            sample_ids=batch.sample_ids,
            validate=False,
            seed=settings.seed,
            step=step,
        )
    if isinstance(control, KLCov):
        advantages = _penalised(control, batch, out.tokens["selected"], settings)
    else:
        advantages = _weighted(batch, out)
    return advantages, _beside_the_learning(out, batch, control, selection)


def _weighted(batch: MicroBatch, out: PolicyLoss) -> Tensor:
    """A times the control's factor; where the ratio clip acts it stays A, the gradient being 0 anyway."""
    acts = batch.learning & ~out.tokens["clipped"]
    factor = torch.where(acts, out.tokens["weight"], 1.0)
    return _by_token(batch.advantages) * factor.to(batch.advantages.dtype)


def _penalised(control: KLCov, batch: MicroBatch, chosen: Tensor, settings: TrainerSettings) -> Tensor:
    """A with the penalty on the chosen tokens; elsewhere log-ratios are taken as 0, so none there counts."""
    advantages = _by_token(batch.advantages).expand_as(batch.logprobs)
    log_ratio = _at(chosen, batch.logprobs - batch.old_or_current)
    ratio = log_ratio.exp()
    clamped = ratio.detach().clamp(1.0 - settings.epsilon_low, 1.0 + settings.epsilon_high)
    inside = clamped == ratio
    target = torch.minimum(ratio * advantages, torch.where(inside, ratio, clamped) * advantages)
    target = target - control.beta * _divergence(control, batch, chosen, log_ratio)
    takes_clamped = (ratio > clamped) == (target >= 0)
    taken = torch.where(~inside & takes_clamped, clamped, ratio)
    return torch.where(chosen, target / taken, advantages)


def _divergence(control: KLCov, batch: MicroBatch, chosen: Tensor, log_ratio: Tensor) -> Tensor:
    if control.reference == "ref":
        assert batch.ref_logprobs is not None
        log_ratio = _at(chosen, batch.logprobs - batch.ref_logprobs)
    log_ratio = log_ratio.clamp(-_LOG_RATIO_LIMIT, _LOG_RATIO_LIMIT)
    estimators = {
        "abs_logratio": torch.abs,
        "k1": lambda d: d,
        "k2": lambda d: 0.5 * d.square(),
        "k3": lambda d: torch.expm1(-d) + d,
    }
    values = estimators[control.divergence](log_ratio)
    return torch.where(log_ratio.detach().abs() >= control.dead_zone, values, 0.0)


def _at(chosen: Tensor, values: Tensor) -> Tensor:
    return torch.where(chosen, values, 0.0)


def _by_token(advantages: Tensor) -> Tensor:
    return advantages.unsqueeze(1) if advantages.dim() == 1 else advantages


def _beside_the_learning(
    out: PolicyLoss, batch: MicroBatch, control: Any, selection: Selection | None
) -> PolicyLoss:
    """The record of a loss without the tokens of low entropy: they keep a covariance and get weight 0."""
    if batch.learning is batch.mask:
        return out
    logprobs = batch.old_or_current if getattr(control, "covariance_on", "") == "old" else batch.logprobs
    logprobs, advantages = logprobs.detach(), _by_token(batch.advantages).expand_as(batch.logprobs)
    if selection is None:
        n_tokens = batch.learning.sum().clamp(min=1)
        mean_logprob = _at(batch.learning, logprobs).sum() / n_tokens
        mean_advantage = _at(batch.learning, advantages).sum() / n_tokens
    else:
        mean_logprob = selection.mean_logprob.to(logprobs.dtype)
        mean_advantage = selection.mean_advantage.to(logprobs.dtype)
    beside = {
        "covariance": (logprobs - mean_logprob) * (advantages - mean_advantage),
        "ratio": (batch.logprobs - batch.old_or_current).detach().exp(),
        "weight": torch.zeros_like(logprobs),
    }
    tokens = {
        name: torch.where(batch.learning, value, beside[name].to(value.dtype)) if name in beside else value
        for name, value in out.tokens.items()
    }
    return replace(out, source=tokens)
