"""Influence through the output head alone: a forward pass of the model, and a linear layer's derivatives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from ..losses.backend import torch
from .scored_batch import TOKENS, ScoredBatch, exact_arithmetic, policy_of, scored_batch

if TYPE_CHECKING:
    from torch import Tensor, nn


def head_batch(batch: ScoredBatch, head: nn.Module, micro_batch: int | None) -> ScoredBatch:
    """The batch as the head sees it: hidden states [B, T, d] in place of the model's inputs.

    Raises `InvalidInputError` for a head that the model does not call once, or whose logits it changes.
    """
    policy = batch.policy
    parts = [_states(batch, rows, head) for rows in batch.pieces()]
    given = {"": torch.cat(parts), TOKENS: batch.tokens}
    return scored_batch(policy_of(head, policy.temperature), given, batch.mask, micro_batch)


@torch.no_grad()
def _states(batch: ScoredBatch, rows: slice, head: nn.Module) -> Tensor:
    """What the head is given for the scored tokens of some rows."""
    calls: list[Tensor] = []

    def keep(_: nn.Module, given: tuple[Any, ...]) -> None:
        calls.append(given[0])

    hook = head.register_forward_pre_hook(keep)
    try:
        with exact_arithmetic(batch.policy.module):
            logits = batch.logits(rows, batch.policy.parameters)
    finally:
        hook.remove()
    if len(calls) != 1:
        raise InvalidInputError(
            f"head was called {len(calls)} times in a forward pass: give the layer that makes the logits"
        )
    states = batch.scored(calls[0])
    own = head(states).to(logits.dtype) / batch.policy.temperature
    if own.shape != logits.shape or not torch.allclose(own, logits, rtol=1e-3, atol=1e-3):
        raise InvalidInputError(
            "head gives other logits than the model, which scales or caps them afterwards: leave head out"
        )
    return states
