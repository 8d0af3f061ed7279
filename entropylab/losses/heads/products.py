"""Matrix products whose result has more digits than their factors, where the hardware can."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backend import torch

if TYPE_CHECKING:
    from torch import Tensor


def factor_dtype(states: Tensor) -> torch.dtype:
    """The dtype in which factors are multiplied: as given on CUDA, where bf16 sums up in fp32; else wide."""
    return states.dtype if states.device.type == "cuda" else wide_dtype(states)


def wide_dtype(states: Tensor) -> torch.dtype:
    """The dtype of logits and sums: fp64 for fp64 states, fp32 otherwise."""
    return torch.float64 if states.dtype == torch.float64 else torch.float32


def multiply_(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``out`` = a b, rounded to the dtype of ``out`` alone."""
    if a.dtype == out.dtype:
        return torch.mm(a, b, out=out)
    return torch.mm(a, b, out_dtype=out.dtype, out=out)


def add_product_(out: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """``out`` += a b, rounded to the dtype of ``out`` alone."""
    if a.dtype == out.dtype:
        return out.addmm_(a, b)
    return torch.addmm(out, a, b, out_dtype=out.dtype, out=out)
