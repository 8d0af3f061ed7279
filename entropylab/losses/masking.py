"""Masks as 0/1 tensors in the dtype of the values, and values with a given slope.

Multiplying by a 0/1 tensor is several times faster on a CPU than ``torch.where`` with a bool one, and
comparing into a tensor of the values' dtype faster than into a bool one; elsewhere they are no slower.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor


class _Gate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, value: Tensor, slope: Tensor) -> Tensor:
        """The value, as it is."""
        ctx.save_for_backward(slope)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The incoming gradient times the slope."""
        (slope,) = ctx.saved_tensors
        return gradients[0] * slope, None, None


def gate(source: Tensor, value: Tensor, slope: Tensor) -> Tensor:
    """``value`` whose derivative with respect to ``source`` is ``slope``, whatever ``source`` holds.

    All [B, T]; ``value`` and ``slope`` carry no gradient.
    """
    return _Gate.apply(source, value, slope)


def finite(values: Tensor) -> Tensor:
    """1 where ``values`` are finite, 0 elsewhere."""
    return (values * 0.0).eq_(0.0)


def keep(values: Tensor, inside: Tensor) -> Tensor:
    """``values`` where ``inside`` is 1, and 0 elsewhere, also for values that are not finite."""
    return values.nan_to_num(0.0, 0.0, 0.0).mul_(inside)


def keep_(values: Tensor, inside: Tensor) -> Tensor:
    """``keep`` in place."""
    return values.nan_to_num_(0.0, 0.0, 0.0).mul_(inside)


def nan_outside(values: Tensor, inside: Tensor) -> Tensor:
    """``values`` (finite) where ``inside`` is 1, and NaN elsewhere."""
    return values + (inside / inside).sub_(1.0)


def greater(values: Tensor, other: Tensor | float) -> Tensor:
    """1 where ``values`` > ``other``, 0 elsewhere."""
    return values.clone().gt_(other)


def equal(values: Tensor, other: Tensor | float) -> Tensor:
    """1 where ``values`` = ``other``, 0 elsewhere."""
    return values.clone().eq_(other)


def as_indicator(mask: Tensor, dtype: torch.dtype) -> Tensor:
    """1 where ``mask`` is not 0, 0 elsewhere, in ``dtype``."""
    if mask.is_floating_point():
        return mask.detach().to(dtype, copy=True).ne_(0)
    return mask.bool().to(torch.int32).to(dtype)


def count_of(indicator: Tensor) -> Tensor:
    """How many are 1, 0-d int64, exact at any size."""
    return indicator.sum(1).long().sum()
