"""Which code works on rows of logits: pure torch, or Triton for fp32 logits on CUDA."""

from __future__ import annotations

import os
import warnings
from functools import cache
from typing import TYPE_CHECKING, Protocol

from ...errors import InvalidInputError
from ..backend import torch
from . import compiled_rows, torch_rows

if TYPE_CHECKING:
    from torch import Tensor

    from .head import Head
    from .rows import Folded, RowGradient, RowSlopes

VARIABLE = "ENTROPYLAB_ROW_KERNELS"
"""Of the environment: ``torch``, ``compiled`` or ``triton`` whatever the device is."""


class RowKernels(Protocol):
    """What is done to the logits z [n, V] of some rows, in memory that it knows how to use."""

    def memory(self, head: Head, rows: int, device: torch.device) -> tuple[Tensor, ...]:
        """Matrices whose first n of ``rows`` rows the other functions work in."""
        ...

    def fold_(
        self,
        head: Head,
        memory: tuple[Tensor, ...],
        states: Tensor,
        targets: Tensor,
        *,
        top: bool = False,
        second: bool = False,
    ) -> Folded:
        """Sums of the logits of ``states`` [n, d], as factors; what follows finds its logits in ``memory``.

        ``targets`` int64 [n]: columns, negative where the row has none. After ``second`` nothing follows.
        """
        ...

    def write_exponentials(self, head: Head, memory: tuple[Tensor, ...], out: Tensor, peak: Tensor) -> None:
        """exp(z - peak) to ``out`` [n, V]; ``peak`` [n] of ``fold_``."""
        ...

    def gradient_(
        self, head: Head, memory: tuple[Tensor, ...], peak: Tensor, log_total: Tensor, slopes: RowSlopes
    ) -> RowGradient:
        """∂L/∂(W x + bias) of folded rows, in ``memory``.

        With g = ∂L/∂log p(y) and h = ∂L/∂H [n]: g·(1[j = y] - p_j) - h·p_j·(log p_j + H), by the slope of
        soft cap and temperature. ``log_total``: log Σ exp(z - peak) over the whole vocabulary.
        """
        ...

    def gradient_of_kept(
        self, head: Head, exponentials: Tensor, log_total: Tensor, slopes: RowSlopes
    ) -> RowGradient:
        """The same from what ``write_exponentials`` wrote [n, V], without soft cap, in memory of its own.

        e log e = 0 where e = exp(z - peak) has no digits left.
        """
        ...


def row_kernels(head: Head, device: torch.device) -> RowKernels:
    """Triton for fp32 logits on CUDA where it is installed, pure torch else; compiled where asked for."""
    asked = os.environ.get(VARIABLE) or ("triton" if device.type == "cuda" else "torch")
    if asked not in ("torch", "compiled", "triton"):
        raise InvalidInputError(f"{VARIABLE}={asked!r} is none of 'torch', 'compiled' and 'triton'")
    if asked == "compiled":
        return compiled_rows
    if asked == "torch" or head.wide != torch.float32:
        return torch_rows
    return _triton_rows() or torch_rows


@cache
def _triton_rows() -> RowKernels | None:
    try:
        from . import triton_rows
    except ImportError:
        warnings.warn(
            "Triton is not installed, so rows of logits go through pure torch, which takes more time and "
            f"twice the memory: run  pip install triton , or set {VARIABLE}=torch to keep it so",
            UserWarning,
            stacklevel=2,
        )
        return None
    return triton_rows
