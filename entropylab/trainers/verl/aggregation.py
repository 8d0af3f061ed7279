"""verl's loss aggregation in terms of our reductions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidInputError, MissingInputError

_REDUCTIONS = {
    "token-mean": ("token_mean", "batch_num_tokens"),
    "token-sum": ("token_sum", None),
    "seq-mean-token-sum": ("seq_mean_token_sum", "global_batch_size"),
    "seq-mean-token-sum-norm": ("seq_mean_token_sum", "global_batch_size"),
    "seq-mean-token-mean": ("seq_mean_token_mean", "global_batch_size"),
}
"""``loss_agg_mode`` -> our reduction, and the count of the whole mini-batch that verl divides by."""


@dataclass(frozen=True)
class Aggregation:
    """How to reduce the loss of a micro-batch: ``factor`` · ``policy_loss(reduction=, denominator=)``."""

    reduction: str
    denominator: float | None
    """None: the count in the micro-batch itself."""
    factor: float
    """Ranks average their gradients, so verl multiplies by their number."""


def aggregation(mode: str, info: Mapping[str, Any], length: int) -> Aggregation:
    """What verl's ``agg_loss`` does in ``mode``.

    ``info`` is ``config.global_batch_info`` (dp_size, batch_num_tokens, global_batch_size,
    loss_scale_factor); ``length`` the padded response length, the divisor of ``seq-mean-token-sum-norm``
    where no ``loss_scale_factor`` is set. A count of 0 (a mini-batch of padding alone) gives the loss 0.

    Raises:
        InvalidInputError: a mode that is not verl's.
        MissingInputError: several ranks and no count of the whole mini-batch.
    """
    if mode not in _REDUCTIONS:
        raise InvalidInputError(f"loss_agg_mode={mode!r} is not translated; known: {', '.join(_REDUCTIONS)}")
    reduction, counted = _REDUCTIONS[mode]
    ranks = info.get("dp_size") or 1
    factor = float(ranks)
    if mode == "seq-mean-token-sum-norm":
        factor /= length if info.get("loss_scale_factor") is None else info["loss_scale_factor"]
    if counted is None:
        return Aggregation(reduction, 1.0, factor)
    count = info.get(counted)
    if count is None and ranks > 1:
        raise MissingInputError(
            f"loss_agg_mode={mode!r} on {ranks} ranks needs {counted}, the count of the whole mini-batch, "
            "in config.global_batch_info"
        )
    return Aggregation(reduction, None if count is None else max(float(count), 1.0), factor)
