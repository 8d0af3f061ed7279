"""From the summed loss of each response to one loss: the reductions that trainers use."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..errors import MissingInputError

if TYPE_CHECKING:
    from torch import Tensor

    from .survey import Survey


def token_mean(per_response: Tensor, batch: Survey, denominator: Any = None) -> Tensor:
    """Σ loss / N, N the valid tokens or ``denominator``."""
    return per_response.sum() / (batch.count.clamp(min=1) if denominator is None else denominator)


def seq_mean_token_mean(per_response: Tensor, batch: Survey, denominator: Any = None) -> Tensor:
    """Mean over responses of the mean over their tokens; ``denominator`` counts responses."""
    return (per_response / batch.lengths.clamp(min=1)).sum() / _responses(batch, denominator)


def seq_mean_token_sum(per_response: Tensor, batch: Survey, denominator: Any = None) -> Tensor:
    """Mean over responses of the sum over their tokens; ``denominator`` counts responses."""
    return per_response.sum() / _responses(batch, denominator)


def token_sum(per_response: Tensor, batch: Survey, denominator: Any = None) -> Tensor:
    """Σ loss / ``denominator``, which has no default (a constant length: arXiv 2503.20783)."""
    if denominator is None:
        raise MissingInputError("reduction='token_sum' needs denominator=: give the constant to divide by")
    return per_response.sum() / denominator


def share_of_set(reduction: str, batch: Survey, denominator: Any) -> Tensor | float:
    """This batch's share of the set that ``denominator`` counts; 1 where there is none to compare with."""
    if denominator is None or reduction == "token_sum":
        return 1.0
    local = batch.count if reduction == "token_mean" else (batch.lengths > 0).sum()
    return local.double() / denominator


def _responses(batch: Survey, denominator: Any) -> Any:
    """Responses with at least one valid token."""
    return (batch.lengths > 0).sum().clamp(min=1) if denominator is None else denominator


REDUCTIONS: dict[str, Callable[..., Tensor]] = {
    f.__name__: f for f in (token_mean, seq_mean_token_mean, seq_mean_token_sum, token_sum)
}
"""Reductions by name."""
