"""SkyRL: a policy loss in its registry.

::

    # main_entropylab.py, beside SkyRL's own main_base.py; before ray is initialised
    from entropylab.trainers.recipes import skyrl
    skyrl.register("entropylab_kl_cov", "kl_cov_7b", scale=skyrl.advantage_scale(256, 9216))
    # trainer.algorithm.policy_loss_type=entropylab_kl_cov
    # trainer.algorithm.loss_reduction=seq_mean_token_sum_norm

SkyRL divides the ADVANTAGES by the reduction's denominator before the loss sees them, and the loss only sums.
On such advantages a band of covariances (1, 5) holds no token, and a penalty beta·|D| that is only summed is
too strong by that denominator: both were measured on SkyRL's own ``clip_cov`` and ``kl_cov``. The recipe
undoes the division, which takes a denominator that is known beforehand: ``seq_mean_token_sum_norm``.
Read: commit a956457, ``skyrl/backends/skyrl_train/utils/ppo_utils.py``. Run: registered and called in the
skyrl 0.3.0 package, equal to its own PPO loss. No training run.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInputError
from ...losses.policy_loss import policy_loss
from ..metric_numbers import numbers
from .method import chosen_method

if TYPE_CHECKING:
    from torch import Tensor

REDUCTION = "seq_mean_token_sum_norm"
"""The ``loss_reduction`` whose denominator is a constant."""

_calls = count()


def advantage_scale(mini_batch_responses: int, max_seq_len: int) -> float:
    """Denominator of ``seq_mean_token_sum_norm``: responses of an optimizer step times ``max_seq_len``."""
    return float(mini_batch_responses * max_seq_len)


def make_loss(method: str | None = None, *, scale: float) -> Callable[..., tuple[Tensor, dict[str, float]]]:
    """SkyRL's loss function of ``method``, a key of ``METHODS``; ``scale`` from ``advantage_scale``."""
    chosen = chosen_method(method)

    def loss(
        log_probs: Tensor,
        old_log_probs: Tensor,
        advantages: Tensor,
        config: Any,
        loss_mask: Tensor | None = None,
        rollout_logprobs: Tensor | None = None,
    ) -> tuple[Tensor, dict[str, float]]:
        _check(config)
        out = policy_loss(
            *(log_probs, old_log_probs, advantages * scale),
            log_probs.new_ones(log_probs.shape) if loss_mask is None else loss_mask,
            surrogate=chosen.surrogate,
            control=chosen.control,
            reduction="token_sum",
            denominator=scale,
            step=next(_calls),
        )
        metrics = numbers(out)
        return out.loss, {"clip_ratio": metrics["entropylab/clipped/fraction"], **metrics}

    return loss


def register(name: str, method: str | None = None, *, scale: float) -> None:
    """Register the loss of ``method`` as ``name`` with SkyRL.

    Raises:
        ImportError: SkyRL is not installed.
        ValueError: SkyRL knows the name already.
    """
    from skyrl.backends.skyrl_train.utils.ppo_utils import PolicyLossRegistry

    PolicyLossRegistry.register(name, make_loss(method, scale=scale))


def _check(config: Any) -> None:
    """Raise for settings under which the loss would be another one than it says."""
    if config.loss_reduction != REDUCTION:
        raise InvalidInputError(
            f"SkyRL's loss_reduction={config.loss_reduction!r} divides the advantages by a number that the "
            f"loss does not get; set trainer.algorithm.loss_reduction={REDUCTION}"
        )
    correction = getattr(getattr(config, "off_policy_correction", None), "tis_ratio_type", None)
    if correction is not None:
        raise InvalidInputError(
            f"SkyRL's off_policy_correction.tis_ratio_type={correction!r} is not applied by "
            "this loss; set it to null"
        )
