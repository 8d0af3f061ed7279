"""Sums that are the same to the bit in any order: whole numbers of a fixed quantum are added.

Floating-point sums depend on the order of their terms, so a mean over micro-batches or ranks would depend on
the layout, and with it, now and then, the choice of a token. Here each value x is split into a multiple of
2⁻¹⁰ and a rest that is rounded to a multiple of 2⁻⁴⁴ (6e-14); both are added as int64, which is exact.
A sum of N values is right while N · max|x| < 2⁵³ and N < 2³⁰; values beyond ±2⁴⁰ count as ±2⁴⁰.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

_COARSE, _FINE, _LARGEST = 2.0**-10, 2.0**-44, 2.0**40
_HALF = 1.5 * 2.0**52
"""Added to x, it leaves the multiple of the quantum that is nearest to x in the low bits of the sum."""


def exact_sum(values: Tensor) -> Tensor:
    """Σ ``values`` as int64 [2]: multiples of 2⁻¹⁰ and of 2⁻⁴⁴. Sums of such sums are exact."""
    values = values.clamp(-_LARGEST, _LARGEST).double()
    coarse = values + _HALF * _COARSE
    rest = values - (coarse - _HALF * _COARSE)
    return torch.stack([_whole_numbers(coarse, _COARSE), _whole_numbers(rest.add_(_HALF * _FINE), _FINE)])


def exact_product_sum(values: Tensor, counts: Tensor) -> Tensor:
    """Σ ``values`` · ``counts`` as ``exact_sum`` gives it, for int64 counts: each value is taken that often."""
    values = values.clamp(-_LARGEST, _LARGEST).double()
    coarse = (values / _COARSE).round()
    fine = ((values - coarse * _COARSE) / _FINE).round()
    return torch.stack([(part.long() * counts).sum() for part in (coarse, fine)])


def as_number(total: Tensor) -> Tensor:
    """The fp64 value of an exact sum [2]."""
    return total[0].double() * _COARSE + total[1].double() * _FINE


def _whole_numbers(shifted: Tensor, quantum: float) -> Tensor:
    """Σ n of values (1.5 · 2⁵² + n) · quantum, from their bits."""
    shift = torch.full((), _HALF * quantum, dtype=torch.float64, device=shifted.device)
    return shifted.view(torch.int64).sum() - shifted.numel() * shift.view(torch.int64)
