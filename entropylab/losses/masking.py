"""Masks as 0/1 tensors in the dtype of the values, and values with a given slope.

Multiplying by a 0/1 tensor is several times faster on a CPU than ``torch.where`` with a bool one. So is
comparing into a tensor of the values' dtype, or through the backward kernels of hardtanh and threshold, which
pass a mask on where a value lies in a range. On other devices all of these are no slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .backend import torch
from .fixed_point import LARGEST

if TYPE_CHECKING:
    from torch import Tensor


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(source: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        """The value, as it is."""
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the slope."""
        ctx.save_for_backward(inputs[2])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The incoming gradient times the slope; a gradient of one response goes to all of its tokens."""
        (slope,) = ctx.saved_tensors
        gradient = gradients[0].to(slope.dtype)
        return slope * (gradient if gradient.dim() == 2 else gradient.unsqueeze(1)), None, None


def gate(source: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    """``value`` whose derivative with respect to ``source`` is ``slope``, whatever ``source`` holds.

    All [B, T]; ``value`` and ``slope`` carry no gradient.
    """
    return _Gate.apply(source, value, slope)


def gate_rows(source: Tensor, values: Tensor, slope: Tensor) -> Tensor:
    """``values`` [B] whose derivatives with respect to ``source`` [B, T] are ``slope`` [B, T].

    ``values`` and ``slope`` carry no gradient.
    """
    return _Gate.apply(source, values, slope)


def keep(values: Tensor, inside: Tensor) -> Tensor:
    """``values`` where ``inside`` is 1, and 0 elsewhere, also for values that are not finite."""
    return above(values, inside, 0.5)


def drop_large_(inside: Tensor, values: Tensor) -> Tensor:
    """``inside``, set to 0 also where ``values`` are NaN or beyond ± ``LARGEST``; overwrites both."""
    return inside.mul_(values.abs_().lt_(LARGEST))


def between(inside: Tensor, values: Tensor, low: float, high: float) -> Tensor:
    """``inside`` where low < ``values`` < high, and 0 elsewhere; ``values`` are not NaN."""
    return torch.ops.aten.hardtanh_backward(inside, values, low, high)


def above(inside: Tensor, values: Tensor, low: float) -> Tensor:
    """``inside`` where ``values`` > low, and 0 elsewhere; ``values`` are not NaN. Both may broadcast."""
    return torch.ops.aten.threshold_backward(inside, values, low)


def nan_outside(inside: Tensor) -> Tensor:
    """0 where ``inside`` is 1, and NaN elsewhere: what to add so that values show as missing."""
    return (inside / inside).sub_(1.0)


def lowest_outside(values: Tensor, inside: Tensor) -> Tensor:
    """``values``, finite, where ``inside`` is 1, and -inf elsewhere, where they are 0."""
    return (values / inside).nan_to_num_(-torch.inf, torch.inf, -torch.inf)


def as_indicator(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where ``mask`` is not 0, 0 elsewhere, in ``dtype``."""
    if mask.is_floating_point():
        return mask.detach().to(dtype, copy=True).ne_(0)
    return from_bool(mask.bool(), dtype)


def from_bool(marked: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where ``marked``, 0 elsewhere, in ``dtype``; by way of uint8 several times faster on a CPU."""
    return (marked.view(torch.uint8) if marked.device.type == "cpu" else marked).to(dtype)


def count_of(indicator: Tensor) -> Tensor:
    """How many are 1, 0-d int64, exact at any size."""
    return indicator.sum(1).long().sum()
