"""The gradient of a head and its hidden states, summed up over chunks of rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backend import torch
from .head import Head
from .products import add_product_, multiply_
from .rows import RowGradient

if TYPE_CHECKING:
    from torch import Tensor


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

    def add_(self, head: Head, rows: Tensor, states: Tensor, found: RowGradient) -> None:
        """Add what ``rows`` int64 [n] with ``states`` [n, d], as factors, give."""
        by_logits = found.by_logits
        if found.places is not None:
            rows, states = rows[found.places], states[found.places]
        if found.idle is not None:
            states = states.masked_fill(found.idle.unsqueeze(1), 0.0)
        if not len(rows):
            return
        if self.bias is not None:
            self.bias.add_(by_logits.sum(0, dtype=head.wide))
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
