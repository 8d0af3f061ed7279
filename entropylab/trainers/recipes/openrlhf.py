"""OpenRLHF 0.11: our loss in the place of its ``PolicyLoss``.

OpenRLHF has no registry: its actor builds ``openrlhf.models.PolicyLoss``. Put ours there before the actor
module is imported, in every Ray worker::

    ray job submit --runtime-env-json='{"worker_process_setup_hook":
        "entropylab.trainers.recipes.openrlhf.install", "env_vars": {"ENTROPYLAB_METHOD": "clip_cov"}}' ...

Tokens are chosen inside each micro-batch (``--train.micro_batch_size``): take it as large as memory allows.
Run: values and gradients beside the loss module of the openrlhf 0.11.2 package. Read: the actor that calls
it, in 0.11.2 and at commit 3c3be62 (0.11.0). No training run.
"""

from __future__ import annotations

from itertools import count
from typing import Any

import torch

from ...errors import InvalidInputError
from ...losses.policy_loss import policy_loss
from .method import chosen_method

_calls = count()
_ALLOWED: dict[str, tuple[Any, str]] = {
    "dual_clip": (None, "set it to None"),
    "policy_loss_type": ("ppo", "set it to ppo, and ENTROPYLAB_METHOD=gspo where GSPO is wanted"),
    "enable_vllm_is_correction": (False, "switch it off"),
    "is_correction_level": ("off", "set it to off"),
}
"""OpenRLHF's settings that must keep the value under which they do nothing, and how to mend others."""


class PolicyLoss(torch.nn.Module):
    """What OpenRLHF's actor builds and calls, with the method of ``ENTROPYLAB_METHOD``.

    Of OpenRLHF's settings only ``token_level_loss`` is read; the ratio clip is the method's own. ``forward``
    returns what the version returns that builds it: loss, clipped fraction, mean log π_old/π, then None for
    what only its rollout correction measures (one value in 0.11.0, two in 0.11.2).

    Raises:
        InvalidInputError: a setting that our loss does not have: dual clip, GSPO, rollout correction.
    """

    def __init__(self, *, token_level_loss: bool = True, **settings: Any) -> None:
        super().__init__()
        for name, (allowed, mend) in _ALLOWED.items():
            if settings.get(name, allowed) != allowed:
                raise InvalidInputError(
                    f"OpenRLHF's {name}={settings[name]!r} is no part of this loss; {mend}"
                )
        self._nothing = (None, None) if "is_correction_level" in settings else (None,)
        self.method = chosen_method()
        self.token_level_loss = token_level_loss

    def forward(
        self,
        log_probs: torch.Tensor,
        old_log_probs: torch.Tensor,
        advantages: torch.Tensor,
        action_mask: torch.Tensor | None = None,
        rollout_log_probs: torch.Tensor | None = None,
        dp_size: int = 1,
        batch_num_tokens: float | None = None,
        global_batch_size: float | None = None,
    ) -> tuple[Any, ...]:
        """Loss, clipped fraction, mean log π_old/π, and None for what is not measured."""
        mask = torch.ones_like(log_probs, dtype=torch.bool) if action_mask is None else action_mask
        reduction = "token_mean" if self.token_level_loss else "seq_mean_token_mean"
        whole = batch_num_tokens if self.token_level_loss else global_batch_size
        out = policy_loss(
            *(log_probs, old_log_probs, advantages, mask),
            surrogate=self.method.surrogate,
            control=self.method.control,
            reduction=reduction,
            denominator=whole,
            step=next(_calls),
        )
        metrics = out.metrics
        loss = out.loss if whole is None else out.loss * dp_size
        return loss, metrics["entropylab/clipped/fraction"], metrics["entropylab/kl/k1"], *self._nothing


def install() -> None:
    """Put ``PolicyLoss`` in the place of OpenRLHF's; for ``worker_process_setup_hook``.

    Raises:
        ImportError: OpenRLHF is not installed.
    """
    import sys

    import openrlhf.models

    openrlhf.models.PolicyLoss = PolicyLoss
    actor = sys.modules.get("openrlhf.trainer.ray.ppo_actor")
    if actor is not None:
        actor.PolicyLoss = PolicyLoss  # type: ignore[attr-defined]
