"""The gradient of a head and its hidden states, summed up over chunks of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backend import torch
from .head import Head
from .looking import may_look
from .products import add_product_, multiply_

if TYPE_CHECKING:
    from torch import Tensor

ENOUGH = 0.9
"""Share of a chunk's rows with a gradient below which the others are left out of the products."""


@dataclass(frozen=True)
class HeadGradient:
    """Sums in wide digits; None where no gradient is wanted."""

    states: Tensor | None
    """[N, d]."""
    weight: Tensor | None
    """[V, d]."""
    bias: Tensor | None
    """[V]."""

    @classmethod
    def zeros(cls, head: Head, states: Tensor, wanted: tuple[bool, ...]) -> HeadGradient:
        """For hidden states [N, d]; ``wanted``: states, weight, bias."""
        for_states, for_weight, for_bias = wanted
        return cls(
            torch.zeros_like(states, dtype=head.wide) if for_states else None,
            torch.zeros_like(head.weight, dtype=head.wide) if for_weight else None,
            None if head.bias is None or not for_bias else torch.zeros_like(head.bias),
        )

    def add_(self, head: Head, rows: Tensor, states: Tensor, by_logits: Tensor, active: Tensor) -> None:
        """Add what ``rows`` [n] with ``states`` [n, d] give, from the gradient ``by_logits`` [n, V].

        Rows that are not ``active`` (bool [n]) add nothing, whatever they hold. They are left out of the
        products, or set to 0 where they are few or knowing them would wait for the device.
        """
        kept = active.nonzero().squeeze(1) if may_look(active) else None
        if kept is not None and len(kept) < ENOUGH * len(rows):
            rows, states, by_logits = rows[kept], states[kept], by_logits[kept]
        elif kept is None or len(kept) < len(rows):
            idle = ~active.unsqueeze(1)
            states, by_logits = states.masked_fill(idle, 0.0), by_logits.masked_fill_(idle, 0.0)
        if len(rows):
            self._add_all_(head, rows, states, by_logits)

    def _add_all_(self, head: Head, rows: Tensor, states: Tensor, by_logits: Tensor) -> None:
        if self.bias is not None:
            self.bias.add_(by_logits.sum(0))
        factors = by_logits.to(head.weight.dtype)
        if self.states is not None:
            product = torch.empty_like(states, dtype=head.wide)
            self.states.index_add_(0, rows, multiply_(product, factors, head.weight))
        if self.weight is not None:
            add_product_(self.weight, factors.t(), states)

    def finished(self, head: Head, shape: torch.Size, padded: int) -> tuple[Tensor | None, ...]:
        """Of hidden states of a ``shape``, and of weight and bias with 0 up to the ``padded`` vocabulary."""
        if self.states is not None and head.shard is not None:
            head.shard.add_up_(self.states)
        states = None if self.states is None else self.states.view(shape)
        return states, _padded(self.weight, padded), _padded(self.bias, padded)


def _padded(values: Tensor | None, rows: int) -> Tensor | None:
    if values is None or len(values) == rows:
        return values
    return torch.cat([values, values.new_zeros(rows - len(values), *values.shape[1:])])


def is_active(by_logprob: Tensor, by_entropy: Tensor | None) -> Tensor:
    """Bool [n]: rows with a gradient."""
    return by_logprob != 0 if by_entropy is None else (by_logprob != 0) | (by_entropy != 0)
