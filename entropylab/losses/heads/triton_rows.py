"""Rows of logits by Triton kernels: one fp32 matrix of the products W x, read once a step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import triton

from ..backend import torch
from .products import multiply_
from .rows import Folded, RowGradient, RowSlopes
from .triton_kernels import exponentials_kernel, fold_kernel, gradient_kernel

if TYPE_CHECKING:
    from torch import Tensor

    from .head import Head

BLOCK, WARPS = 4096, 8
"""Columns taken at once, and the warps that share them."""


def memory(head: Head, rows: int, device: torch.device) -> tuple[Tensor, ...]:
    """For W x, which its gradient overwrites."""
    return (torch.empty((rows, head.size), dtype=head.wide, device=device),)


def fold_(
    head: Head,
    memory: tuple[Tensor, ...],
    states: Tensor,
    targets: Tensor,
    *,
    top: bool = False,
    second: bool = False,
) -> Folded:
    """Sums of the logits of ``states`` [n, d]; W x stays in ``memory``."""
    (products,) = memory
    multiply_(products, states, head.weight.t())
    count = len(products)
    sums = products.new_empty((5, count))
    top_tokens = targets.new_empty(count if top else 0)
    _launch(
        fold_kernel,
        products,
        *(_bias(head, products), targets.contiguous(), sums, top_tokens, count),
        **_shape(head),
        TOP=top,
        SECOND=second,
    )
    peak, total, moment, target, squares = sums
    return Folded(peak, total, moment, target, top_tokens if top else None, squares if second else None)


def write_exponentials(head: Head, memory: tuple[Tensor, ...], out: Tensor, peak: Tensor) -> None:
    """exp(z - peak) to ``out`` [n, V]."""
    (products,) = memory
    _launch(
        exponentials_kernel,
        products,
        *(_bias(head, products), out, out.stride(0), peak.contiguous()),
        **_shape(head),
    )


def gradient_(
    head: Head, memory: tuple[Tensor, ...], peak: Tensor, log_total: Tensor, slopes: RowSlopes
) -> RowGradient:
    """∂L/∂(W x + bias) of folded rows, in the dtype of the factors and the first bytes of each row."""
    (products,) = memory
    out = products.view(head.weight.dtype)[:, : head.size]
    _write_gradient(head, products, out, peak.contiguous(), log_total.contiguous(), slopes, kept=False)
    return RowGradient(out, idle=~slopes.active)


def gradient_of_kept(head: Head, exponentials: Tensor, log_total: Tensor, slopes: RowSlopes) -> RowGradient:
    """∂L/∂(W x + bias) from ``exponentials`` [n, V] of a head without soft cap, in the factors' dtype."""
    out = torch.empty_like(exponentials, dtype=head.weight.dtype)
    _write_gradient(head, exponentials, out, log_total, log_total.contiguous(), slopes, kept=True)
    return RowGradient(out, idle=~slopes.active)


def _write_gradient(
    head: Head,
    source: Tensor,
    out: Tensor,
    peak: Tensor,
    log_total: Tensor,
    slopes: RowSlopes,
    *,
    kept: bool,
) -> None:
    by_entropy = slopes.by_logprob if slopes.by_entropy is None else slopes.by_entropy
    by_row = (slopes.targets, slopes.active, peak, log_total, slopes.entropy, slopes.by_logprob, by_entropy)
    _launch(
        gradient_kernel,
        source,
        *(_bias(head, source), out, out.stride(0), *(one.contiguous() for one in by_row)),
        **_shape(head),
        HAS_ENTROPY=slopes.by_entropy is not None,
        KEPT=kept,
    )


def _bias(head: Head, unread: Tensor) -> Tensor:
    return unread if head.bias is None else head.bias


def _shape(head: Head) -> dict[str, Any]:
    """What turns products into logits."""
    return {
        "softcap": 1.0 if head.softcap is None else float(head.softcap),
        "inverse_temperature": 1.0 / head.temperature,
        "HAS_BIAS": head.bias is not None,
        "HAS_CAP": head.softcap is not None,
    }


@torch.compiler.disable
def _launch(kernel: Any, matrix: Tensor, *arguments: Any, **settings: Any) -> None:
    """One program for each row of a ``matrix`` [n, V] on its device; products are rounded before sums."""
    rows, size = matrix.shape
    if rows == 0:
        return
    block = min(BLOCK, triton.next_power_of_2(size))
    with torch.cuda.device_of(matrix):
        kernel[(rows,)](
            *(matrix, size, matrix.stride(0), *arguments),
            **settings,
            BLOCK=block,
            num_warps=WARPS,
            enable_fp_fusion=False,
        )
