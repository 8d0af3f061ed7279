"""Our losses as verl calls them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from ...errors import MissingInputError
from ...losses.policy_loss import PolicyLoss, policy_loss
from ..metric_numbers import numbers
from ..weighted_loss import weighted_policy_loss
from .aggregation import aggregation
from .names import LossSettings, loss_settings
from .whole_batch import current_choice

if TYPE_CHECKING:
    from torch import Tensor

_WAY_OUT = "set algorithm.rollout_correction.rollout_is=null, or take entropylab_clip_cov"

_calls = count()


def make_loss(name: str) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """The function that verl registers under ``name``, with verl's signature and return value.

    It chooses its tokens inside the micro-batch that it is given, as verl's own losses do; under our trainer
    (``trainer.v1.trainer_mode=entropylab_sync``) it takes those that were chosen on the whole batch.
    ``rollout_is_weights`` multiply the loss of each token where that is the loss of a scaled advantage.
    """

    def loss(
        old_log_prob: Tensor,
        log_prob: Tensor,
        advantages: Tensor,
        response_mask: Tensor,
        loss_agg_mode: str = "token-mean",
        config: Any = None,
        rollout_is_weights: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        if config is None:
            raise MissingInputError(f"{name} needs config=, verl's actor config")
        settings, more = _on_whole_batch(loss_settings(name, config))
        how = aggregation(loss_agg_mode, config.global_batch_info, response_mask.shape[-1])
        batch = (log_prob, old_log_prob, advantages, response_mask)
        more |= {"surrogate": settings.surrogate, "control": settings.control}
        more |= {"reduction": how.reduction, "denominator": how.denominator}
        if rollout_is_weights is None:
            out = policy_loss(*batch, **more)
            return out.loss * how.factor, _numbers(out)
        value, out = weighted_policy_loss(*batch, rollout_is_weights, way_out=_WAY_OUT, **more)
        return value * how.factor, _numbers(out)

    loss.__name__ = loss.__qualname__ = name
    return loss


def _on_whole_batch(settings: LossSettings) -> tuple[LossSettings, dict[str, Any]]:
    """The settings and arguments that take the tokens chosen on the whole batch, where that was done."""
    more: dict[str, Any] = {"seed": _rank(), "step": next(_calls)}
    choice = current_choice() if settings.chooses else None
    if choice is None:
        return settings, more
    chosen = {"selection": choice.selection, "sample_ids": choice.sample_ids}
    return replace(settings, control=choice.selection.control), more | chosen


def _numbers(out: PolicyLoss) -> dict[str, float]:
    """The metrics as Python numbers, in one transfer; two of them also under the names that verl's have."""
    named = numbers(out)
    named["actor/ppo_kl"] = named["entropylab/kl/k1"]
    named["actor/pg_clipfrac"] = named["entropylab/clipped/fraction"]
    return named


def _rank() -> int:
    from torch import distributed

    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
