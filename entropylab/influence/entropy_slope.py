"""The gradient of the mean policy entropy over the tokens of a batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from ..losses.backend import torch
from .scored_batch import ScoredBatch, exact_arithmetic, policy_of, scored_batch

if TYPE_CHECKING:
    from torch import Tensor

    from .scored_batch import Parameters


@dataclass(frozen=True, eq=False)
class EntropyGradient:
    """∇H by parameter, nats, with the mean entropy H of the tokens it was taken over."""

    values: Mapping[str, Tensor]
    entropy: float

    def mixed(self, newer: EntropyGradient, decay: float) -> EntropyGradient:
        """decay · this + (1 - decay) · newer: an average that follows the policy."""
        if not 0 <= decay < 1:
            raise InvalidInputError(f"decay is {decay}: give a number in [0, 1)")
        values = {n: torch.lerp(newer.values[n], x, decay) for n, x in self.values.items()}
        return EntropyGradient(values, decay * self.entropy + (1 - decay) * newer.entropy)


def entropy_gradient(
    model: Any, inputs: Any, mask: Tensor, *, temperature: float = 1.0, micro_batch: int | None = None
) -> EntropyGradient:
    """∇ of the mean entropy over the tokens inside ``mask`` [B, T]; arguments as of `token_influence`."""
    batch = scored_batch(policy_of(model, temperature), inputs, mask, micro_batch)
    with exact_arithmetic(batch.policy.module):
        return of_batch(batch)


def of_batch(batch: ScoredBatch) -> EntropyGradient:
    """∇H of a batch, its rows in pieces."""
    total, values = summed_gradient(batch, batch.entropy_sum)
    n = batch.count
    return EntropyGradient({name: x / n for name, x in values.items()}, total / n)


def summed_gradient(
    batch: ScoredBatch, function: Callable[[slice, Parameters], Tensor]
) -> tuple[float, dict[str, Tensor]]:
    """The value and gradient of a sum over the rows of a batch."""
    leaves = {name: p.clone().requires_grad_() for name, p in batch.policy.parameters.items()}
    total = 0.0
    found = {name: torch.zeros_like(p) for name, p in leaves.items()}
    for rows in batch.pieces():
        with torch.enable_grad():
            value = function(rows, leaves)
            gradients = _gradients(value, list(leaves.values()))
        total += float(value.detach())
        for name, gradient in zip(leaves, gradients, strict=True):
            if gradient is not None:
                found[name] += gradient
    return total, found


def _gradients(value: Tensor, leaves: list[Tensor]) -> Sequence[Tensor | None]:
    try:
        return torch.autograd.grad(value, leaves, allow_unused=True)
    except RuntimeError as error:
        if "use_reentrant" not in str(error):
            raise
        raise InvalidInputError(
            "the model's gradient checkpointing is reentrant, which gives no gradient of single values: "
            "give use_reentrant=False (gradient_checkpointing_kwargs of transformers)"
        ) from error
