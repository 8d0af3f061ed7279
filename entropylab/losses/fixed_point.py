"""Sums that are the same to the bit in any order: whole numbers of a fixed quantum are added.

Floating-point sums depend on the order of their terms, so a mean over micro-batches or ranks would depend on
the layout, and with it, now and then, the choice of a token. Here each value is rounded to a multiple of 2⁻³⁰
(9e-10), and the multiples are added as int64, which is exact. What the rounding of an fp64 value leaves is
rounded to a multiple of 2⁻⁶⁴ and added too. A sum is kept as multiples of 2⁻¹⁰, 2⁻³⁰ and 2⁻⁶⁴, so that it
holds 2³⁰ values of up to ``LARGEST``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

LARGEST = 2.0**20
"""Values from here on (a million) do not fit."""
N_PARTS = 3
"""Whole numbers that make up a sum."""
_QUANTUM, _TAIL = 2.0**-30, 2.0**-64
_COARSE_BITS = 20
_HALF = 1.5 * 2.0**52
"""Added to x/quantum, it leaves the nearest whole number in the low bits."""


def exact_sum(values: Tensor) -> Tensor:
    """Σ ``values`` [B, T] as int64 [3]. Sums of such sums are exact."""
    return parts_of(*row_sums(values))


def row_sums(values: Tensor) -> tuple[Tensor, Tensor | None]:
    """Multiples of 2⁻³⁰ in the sum of each row of [B, T], int64 [B]; for fp64 also those of 2⁻⁶⁴ left."""
    if values.dtype != torch.float64:
        return _whole_numbers(values.double().add_(_HALF * _QUANTUM), _QUANTUM), None
    shifted = values + _HALF * _QUANTUM
    rest = values - (shifted - _HALF * _QUANTUM)
    return _whole_numbers(shifted, _QUANTUM), _whole_numbers(rest.add_(_HALF * _TAIL), _TAIL)


def weighted_row_sums(values: Tensor, counts: Tensor) -> tuple[Tensor, Tensor | None]:
    """As ``row_sums`` of rows that hold ``values`` [B] so often as the int64 ``counts`` [B] say."""
    whole, tail = row_sums(values.unsqueeze(1))
    return whole * counts, None if tail is None else tail * counts


def parts_of(whole: Tensor, tail: Tensor | None) -> Tensor:
    """Exact sums [3, ...] from the sums of rows [..., B]."""
    coarse = whole >> _COARSE_BITS
    fine = whole - (coarse << _COARSE_BITS)
    left = torch.zeros_like(whole) if tail is None else tail
    return torch.stack([coarse, fine, left]).sum(-1)


def as_number(total: Tensor) -> Tensor:
    """The fp64 values [...] of exact sums [3, ...]."""
    coarse, fine, left = total.double().unbind()
    return coarse * (_QUANTUM * 2.0**_COARSE_BITS) + (fine * _QUANTUM + left * _TAIL)


def _whole_numbers(shifted: Tensor, quantum: float) -> Tensor:
    """Σ n of each row, of values (1.5 · 2⁵² + n) · quantum, from their bits; wraps as int64 does."""
    shift = torch.full((), _HALF * quantum, dtype=torch.float64, device=shifted.device)
    return shifted.view(torch.int64).sum(1) - shifted.shape[1] * shift.view(torch.int64)
