"""NeMo-RL: a LossFunction for ``grpo_train``.

::

    policy, ..., loss_fn, logger, ... = setup(...)
    grpo_train(policy, ..., loss_fn=nemo_rl.loss_function("clip_cov"), ...)

Tokens are chosen inside each micro-batch (``policy.train_micro_batch_size``). Read: commit 7ea279a,
``nemo_rl/algorithms/loss/interfaces.py`` (the protocol), ``loss_functions.py`` (the layout of the data),
``grpo.py``. Run: on inputs of the documented shapes; NeMo-RL itself was
not run.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Any

from ...losses.policy_loss import policy_loss
from ..metric_numbers import numbers
from .method import Chosen, chosen_method

if TYPE_CHECKING:
    from torch import Tensor

_calls = count()
_COUNTS = ("selected/count", "selected/candidates", "nonfinite")
_NOT_SUMMED = ("ratio/max",)


class PolicyLossFn:
    """A loss of NeMo-RL's protocol: per-token logprobs in, loss and metrics out.

    ``token_level`` as NeMo-RL's ``loss_fn.token_level_loss``. Its own clip and KL settings are not read.
    """

    def __init__(self, method: Chosen, *, token_level: bool, loss_type: Any, input_type: Any) -> None:
        self.method = method
        self.token_level = token_level
        self.loss_type = loss_type
        self.input_type = input_type

    def __call__(
        self,
        next_token_logprobs: Tensor,
        data: Mapping[str, Any],
        global_valid_seqs: Tensor,
        global_valid_toks: Tensor,
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of a micro-batch, normalised by the counts of the whole batch, and metrics to be summed.

        ``next_token_logprobs`` [B, S-1]; in ``data`` [B, S]: ``prev_logprobs``, ``advantages``,
        ``token_mask``, and where a method needs it ``reference_policy_logprobs``; [B]: ``sample_mask``.
        """
        mask = data["token_mask"][:, 1:] * data["sample_mask"].unsqueeze(-1)
        whole = global_valid_toks if self.token_level else global_valid_seqs
        needs = getattr(self.method.control, "needs", ())
        reference = data["reference_policy_logprobs"][:, 1:] if "ref_logprobs" in needs else None
        out = policy_loss(
            *(next_token_logprobs, data["prev_logprobs"][:, 1:], data["advantages"][:, 1:], mask),
            surrogate=self.method.surrogate,
            control=self.method.control,
            reduction="token_mean" if self.token_level else "seq_mean_token_mean",
            denominator=whole.clamp(min=1).reshape(()),
            ref_logprobs=reference,
            step=next(_calls),
        )
        metrics = _summable(numbers(out), float(mask.sum() / global_valid_toks.clamp(min=1)))
        metrics |= {"loss": out.loss.item(), "num_valid_samples": float(data["sample_mask"].sum())}
        return out.loss, metrics


def loss_function(method: str | None = None, *, token_level: bool = True) -> PolicyLossFn:
    """The loss of ``method``, a key of ``METHODS``, for ``grpo_train(loss_fn=...)``.

    Raises:
        ImportError: NeMo-RL is not installed.
        InvalidInputError, UnknownNameError: no such method.
    """
    from nemo_rl.algorithms.loss.interfaces import LossInputType, LossType

    kind = LossType.TOKEN_LEVEL if token_level else LossType.SEQUENCE_LEVEL
    return PolicyLossFn(
        chosen_method(method), token_level=token_level, loss_type=kind, input_type=LossInputType.LOGPROB
    )


def _summable(found: Mapping[str, float], share: float) -> dict[str, float]:
    """Metrics whose sum over the micro-batches is that of the batch; NeMo-RL adds what losses return."""
    short = {name.removeprefix("entropylab/"): value for name, value in found.items()}
    return {
        f"entropylab/{name}": value * (1.0 if _is_count(name) else share)
        for name, value in short.items()
        if name not in _NOT_SUMMED
    }


def _is_count(name: str) -> bool:
    return name in _COUNTS or name.endswith(("_above", "_below"))
