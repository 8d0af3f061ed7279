"""slime: a custom loss.

::

    --loss-type custom_loss --custom-loss-function-path entropylab.trainers.recipes.slime.loss
    --calculate-per-token-loss         # and ENTROPYLAB_METHOD=kl_cov_7b in the environment of the workers

Tokens are chosen inside each micro-batch of a rank. With ``--calculate-per-token-loss`` every method works;
without it slime divides each response by a count of its own, which only losses proportional to the advantage
can follow (Clip-Cov, not KL-Cov). Of slime's other terms none is added: no dual clip, TIS, OPSM, KL loss or
entropy bonus. Context parallelism is refused.
Read: commit 624b824 (after v0.3.1), ``slime/backends/megatron_utils/loss.py``. Run: on samples of the
documented shapes; slime itself needs Megatron on GPUs and was not run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from typing import TYPE_CHECKING, Any

import torch

from ...errors import InvalidInputError
from ...losses.policy_loss import PolicyLoss, policy_loss
from ..weighted_loss import weighted_policy_loss
from .method import Chosen, chosen_method

if TYPE_CHECKING:
    from torch import Tensor

_calls = count()
_UNUSED = ("use_tis", "use_opsm", "use_kl_loss", "get_mismatch_metrics")


def loss(
    args: Any, batch: Any, logits: Tensor, sum_of_sample_mean: Callable[[Tensor], Tensor]
) -> tuple[Tensor, dict[str, Tensor]]:
    """slime's loss function: the summed loss of a micro-batch, which slime normalises, and its metrics."""
    from slime.backends.megatron_utils.loss import get_log_probs_and_entropy

    on = [name for name in _UNUSED if getattr(args, name, False)]
    if on:
        raise InvalidInputError(f"slime's {', '.join(on)} is no part of this loss; switch it off")
    _, found = get_log_probs_and_entropy(
        logits,
        args=args,
        unconcat_tokens=batch["unconcat_tokens"],
        total_lengths=batch["total_lengths"],
        response_lengths=batch["response_lengths"],
        with_entropy=True,
    )
    old = batch["rollout_log_probs"] if args.use_rollout_logprobs else batch.get("log_probs")
    summed, out = samples_loss(
        chosen_method(),
        found["log_probs"],
        old or [one.detach() for one in found["log_probs"]],
        batch["advantages"],
        batch["loss_masks"],
        denominators=None if args.calculate_per_token_loss else batch["rollout_mask_sums"],
        entropy=found["entropy"],
        ref_logprobs=batch.get("ref_log_probs"),
    )
    metrics = {name: value.detach().float() for name, value in out.metrics.items()}
    return summed, {"loss": summed.detach(), "pg_loss": summed.detach(), **metrics}


def samples_loss(
    method: Chosen,
    logprobs: Sequence[Tensor],
    old_logprobs: Sequence[Tensor],
    advantages: Sequence[Tensor],
    masks: Sequence[Tensor],
    *,
    denominators: Sequence[Tensor] | None = None,
    entropy: Sequence[Tensor] | None = None,
    ref_logprobs: Sequence[Tensor] | None = None,
) -> tuple[Tensor, PolicyLoss]:
    """Σ over responses of Σ loss of their tokens / denominator, and the report.

    Lists of [R_i], one tensor a response. ``denominators``: one number a response; None: 1 for all.

    Raises:
        InvalidInputError: lengths that differ (context parallelism), or denominators with a method whose
            loss is not proportional to the advantage.
    """
    lists = {"logprobs": logprobs, "old_logprobs": old_logprobs, "advantages": advantages, "masks": masks}
    for name, values in lists.items():
        if [len(one) for one in values] != [len(one) for one in masks]:
            raise InvalidInputError(
                f"{name} holds pieces of responses whose lengths are not those of the loss masks; set "
                "--context-parallel-size 1"
            )
    batch = (_padded(logprobs), _padded(old_logprobs), _padded(advantages), _padded(masks))
    settings: dict[str, Any] = {"surrogate": method.surrogate, "control": method.control}
    settings |= {"reduction": "token_sum", "denominator": 1.0, "step": next(_calls)}
    if denominators is not None:
        counts = torch.stack([torch.as_tensor(one) for one in denominators]).clamp(min=1)
        weights = (1.0 / counts.to(batch[0])).unsqueeze(1).expand(batch[0].shape)
        return weighted_policy_loss(*batch, weights, way_out="set --calculate-per-token-loss", **settings)
    needs = getattr(method.control, "needs", ())
    optional = {"entropy": entropy, "ref_logprobs": ref_logprobs}
    settings |= {n: _padded(v) for n, v in optional.items() if n in needs and v is not None}
    out = policy_loss(*batch, **settings)
    return out.loss, out


def _padded(values: Sequence[Tensor]) -> Tensor:
    return torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True)
