"""Our losses as verl calls them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInputError, MissingInputError
from ...losses.collective import select_tokens
from ...losses.controls.clip_cov import ClipCov
from ...losses.controls.random_clip import RandomClip
from ...losses.controls.sample_weight import SampleWeight
from ...losses.interfaces import chooses_tokens
from ...losses.policy_loss import PolicyLoss, policy_loss
from .aggregation import Aggregation, aggregation
from .names import LossSettings, loss_settings
from .whole_batch import current_choice

if TYPE_CHECKING:
    from torch import Tensor

_SCALES_WITH_ADVANTAGE = (type(None), ClipCov, RandomClip, SampleWeight)
"""Controls under which the loss of a token times w is its loss at the advantage times w, w >= 0."""

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
        if rollout_is_weights is None:
            out = _loss(settings, how, batch, more)
            return out.loss * how.factor, _numbers(out)
        return _weighted(name, settings, how, batch, rollout_is_weights, more)

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


def _loss(
    settings: LossSettings, how: Aggregation, batch: tuple[Tensor, ...], more: dict[str, Any]
) -> PolicyLoss:
    """The loss of a micro-batch, before ``how.factor``."""
    return policy_loss(
        *batch,
        surrogate=settings.surrogate,
        control=settings.control,
        reduction=how.reduction,
        denominator=how.denominator,
        **more,
    )


def _weighted(
    name: str,
    settings: LossSettings,
    how: Aggregation,
    batch: tuple[Tensor, ...],
    weights: Tensor,
    more: dict[str, Any],
) -> tuple[Tensor, dict[str, float]]:
    """The loss of each token times its weight; tokens are chosen by the advantages without weights."""
    control, surrogate = settings.control, settings.surrogate
    if not isinstance(control, _SCALES_WITH_ADVANTAGE) or surrogate.scope != "token":
        raise InvalidInputError(
            f"{name} with rollout_is_weights: {surrogate}, {control} is not proportional to the advantage, "
            "so the weights cannot be applied; set algorithm.rollout_correction.rollout_is=null or take "
            "entropylab_clip_cov"
        )
    logprobs, old, advantages, mask = batch
    plain = (logprobs.detach(), old, advantages, mask)
    if chooses_tokens(control) and "selection" not in more:
        more = more | {"selection": select_tokens(control, *plain, surrogate=surrogate, **more)}
    scaled = _loss(settings, how, (logprobs, old, advantages * weights, mask), more)
    return scaled.loss * how.factor, _numbers(_loss(settings, how, plain, more))


def _numbers(out: PolicyLoss) -> dict[str, float]:
    """The metrics as Python numbers, in one transfer; two of them also under the names that verl's have."""
    import torch

    values = torch.stack([value.double() for value in out.metrics.values()]).tolist()
    named = dict(zip(out.metrics, values, strict=True))
    named["actor/ppo_kl"] = named["entropylab/kl/k1"]
    named["actor/pg_clipfrac"] = named["entropylab/clipped/fraction"]
    return named


def _rank() -> int:
    from torch import distributed

    return distributed.get_rank() if distributed.is_available() and distributed.is_initialized() else 0
