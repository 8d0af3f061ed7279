"""The full divergence at chosen rows of hidden states, by chunks: no tensor of all their logits lives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..backend import torch
from ..row_kl import row_kl
from .gradient import HeadGradient
from .head import Head, HeadSettings, make_head
from .torch_rows import cap_slope, only_active, write_logits

if TYPE_CHECKING:
    from torch import Tensor

SHARE_OF_CHUNK = 4
"""A divergence holds several matrices where the other passes hold two, so its chunks are so much smaller."""


class HiddenKL(torch.autograd.Function):
    """KL of rows from hidden states [N, d] and heads [V, d] of a policy and a reference.

    The gradient by the logits is kept where one chunk holds all rows; else they are made again.
    """

    @staticmethod
    def forward(
        states: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        ref_states: Tensor,
        ref_weight: Tensor,
        ref_bias: Tensor | None,
        rows: Tensor,
        settings: HeadSettings,
        direction: str,
    ) -> tuple[Tensor, Tensor]:
        """KL of the rows int64 [k], [k]; and its gradient by their logits [k, V], or [0, V]."""
        pair = make_pair((states, weight, bias), (ref_states, ref_weight, ref_bias), settings)
        values, kept = [], states.new_empty((0, pair[0].size), dtype=pair[0].wide)
        for place in chunks(pair[0], rows):
            value, by_logits = chunk_kl(pair, states, ref_states, rows[place], direction)
            values.append(value)
            if len(value) == len(rows):
                kept = by_logits
        return torch.cat(values), kept

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep what makes the gradient, which has none itself."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(*inputs[:7], *output)
        ctx.settings, ctx.direction = inputs[7:]

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradient of the policy's states, weight and bias."""
        states, weight, bias, ref_states, ref_weight, ref_bias, rows, values, kept = ctx.saved_tensors
        pair = make_pair((states, weight, bias), (ref_states, ref_weight, ref_bias), ctx.settings)
        head, by_value = pair[0], gradients[0]
        total = HeadGradient.zeros(head, states, ctx.needs_input_grad[:3])
        for place in chunks(head, rows):
            if len(kept) == len(rows):
                by_logits = kept * by_value.unsqueeze(1)
            else:
                _, by_logits = chunk_kl(pair, states, ref_states, rows[place], ctx.direction)
                by_logits.mul_(by_value[place].unsqueeze(1))
            active = (by_value[place] != 0) & values[place].isfinite()
            factors = states[rows[place]].to(head.weight.dtype)
            total.add_(head, rows[place], factors, only_active(by_logits, active))
        return (*total.finished(head, states.shape, len(weight)), *[None] * 6)


Parts = tuple["Tensor", "Tensor", "Tensor | None"]
"""Hidden states, weight and bias."""


def make_pair(policy: Parts, reference: Parts, settings: HeadSettings) -> tuple[Head, Head]:
    """The heads of both."""
    return make_head(*policy, settings=settings), make_head(*reference, settings=settings)


def chunks(head: Head, rows: Tensor) -> list[slice]:
    """Places of the rows taken at once; one, if empty, where there are none."""
    at_once = max(1, head.chunk_rows // SHARE_OF_CHUNK)
    return [slice(start, start + at_once) for start in range(0, max(len(rows), 1), at_once)]


def chunk_kl(
    pair: tuple[Head, Head], states: Tensor, ref_states: Tensor, rows: Tensor, direction: str
) -> tuple[Tensor, Tensor]:
    """KL [n] of a few rows and its gradient by W x + bias [n, V] of the policy."""
    (head, logits), (_, ref_logits) = (
        (one, _logits(one, given[rows])) for one, given in zip(pair, (states, ref_states), strict=True)
    )
    value, gradient = row_kl(logits, ref_logits.to(logits.dtype), direction)
    slope = cap_slope(head, logits)
    if slope is not None:
        gradient.mul_(slope)
    return value, gradient.mul_(1.0 / head.temperature)


def _logits(head: Head, states: Tensor) -> Tensor:
    """Logits [n, V] of states [n, d]."""
    out = torch.empty((len(states), head.size), dtype=head.wide, device=states.device)
    write_logits(head, out, states.to(head.weight.dtype))
    return out
