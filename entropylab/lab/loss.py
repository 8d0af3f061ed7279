"""The loss of one mini-batch: from the logits of all its tokens, or from hidden states."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ..losses.heads.full_kl import FullKL
from ..losses.heads.fused_loss import fused_policy_loss
from ..losses.min_p import min_p_logprobs
from ..losses.policy_loss import PolicyLoss, policy_loss
from .learner import Learner
from .rollout import Rollout, logprobs_and_entropy
from .settings import LabMethod, LabSettings


def mini_batch_loss(
    learner: Learner, rollout: Rollout, rows: slice, method: LabMethod, settings: LabSettings, step: int
) -> tuple[Tensor, PolicyLoss]:
    """Logprobs [B, T] without gradient, and the loss of the rows of a rollout."""
    given: dict[str, Any] = {
        "old_logprobs": rollout.old_logprobs[rows],
        "advantages": rollout.advantages[rows],
        "mask": rollout.mask[rows],
        "surrogate": method.surrogate,
        "control": method.control_at(step),
        "sample_ids": rollout.sample_ids[rows],
        "seed": settings.seed,
        "step": step,
    }
    make = _from_states if settings.head == "fused" else _from_logits
    return make(learner, rollout.tokens[rows], given)


def _from_logits(learner: Learner, tokens: Tensor, given: dict[str, Any]) -> tuple[Tensor, PolicyLoss]:
    responses = tokens[:, -learner.model.response_length :]
    logits = learner.model.response_logits(tokens)
    if learner.filtered:
        given["ref_logprobs"] = min_p_logprobs(logits.detach(), responses)
    elif learner.reference is not None:
        with torch.no_grad():
            ref_logits = learner.reference.response_logits(tokens)
        given["ref_logprobs"], _ = logprobs_and_entropy(ref_logits, responses)
        given["full_kl"] = FullKL.from_logits(logits, ref_logits)
    logprobs, entropy = logprobs_and_entropy(logits, responses)
    return logprobs.detach(), policy_loss(logprobs, entropy=entropy, **given)


def _from_states(learner: Learner, tokens: Tensor, given: dict[str, Any]) -> tuple[Tensor, PolicyLoss]:
    """Lp-Reg's filtered policy is made from logits without gradient."""
    responses = tokens[:, -learner.model.response_length :]
    states = learner.model.response_states(tokens)
    if learner.filtered:
        with torch.no_grad():
            given["ref_logprobs"] = min_p_logprobs(learner.model.head(states), responses)
    elif learner.reference is not None:
        with torch.no_grad():
            given["ref_hidden"] = learner.reference.response_states(tokens)
        given["ref_weight"] = learner.reference.head.weight
    out = fused_policy_loss(states, learner.model.head.weight, responses, **given)
    return out.tokens["logprobs"], out
