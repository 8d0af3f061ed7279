"""Rows of logits by torch.compile: the passes of pure torch fused, in one matrix."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

from ..backend import torch
from . import torch_rows
from .rows import Folded, RowGradient, RowSlopes
from .torch_rows import by_product, cap_slope, only_active, write_logits

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from .head import Head

gradient_of_kept = torch_rows.gradient_of_kept


def memory(head: Head, rows: int, device: torch.device) -> tuple[Tensor, ...]:
    """For z, which its gradient overwrites."""
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
    """Sums of the logits of ``states`` [n, d]; z stays in ``memory``."""
    (logits,) = memory
    write_logits(head, logits, states)
    peak, total, moment = _compiled(_sums)(logits)
    at = logits.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1) - peak
    squares = _compiled(_second)(logits, peak, moment / total) if second else None
    top_token = logits.argmax(1) if top else None
    return Folded(peak, total, moment, torch.where(targets >= 0, at, 0.0), top_token, squares)


def write_exponentials(head: Head, memory: tuple[Tensor, ...], out: Tensor, peak: Tensor) -> None:
    """exp(z - peak) to ``out`` [n, V]."""
    out.copy_(memory[0].sub(peak.unsqueeze(1)).exp_())


def gradient_(
    head: Head, memory: tuple[Tensor, ...], peak: Tensor, log_total: Tensor, slopes: RowSlopes
) -> RowGradient:
    """∂L/∂(W x + bias) of folded rows, in the memory of the logits."""
    (logits,) = memory
    by_cap = cap_slope(head, logits)
    g, h = by_product(head, slopes)
    level = -(g if h is None else g + h * slopes.entropy)
    if h is None:
        _compiled(_by_logprob_)(logits, peak, log_total, level)
    else:
        _compiled(_by_both_)(logits, peak, log_total, level, h)
    torch_rows.add_targets_(logits, slopes.targets, g)
    if by_cap is not None:
        logits.mul_(by_cap)
    return only_active(logits, slopes.active)


def _sums(logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    peak = logits.amax(1)
    apart = logits - peak.unsqueeze(1)
    exponentials = apart.exp()
    return peak, exponentials.sum(1), (exponentials * apart).sum(1)


def _second(logits: Tensor, peak: Tensor, mean: Tensor) -> Tensor:
    apart = logits - peak.unsqueeze(1)
    return (apart.exp() * (apart - mean.unsqueeze(1)).square()).sum(1)


def _by_logprob_(logits: Tensor, peak: Tensor, log_total: Tensor, level: Tensor) -> None:
    logp = (logits - peak.unsqueeze(1)) - log_total.unsqueeze(1)
    logits.copy_(logp.exp() * level.unsqueeze(1))


def _by_both_(logits: Tensor, peak: Tensor, log_total: Tensor, level: Tensor, h: Tensor) -> None:
    logp = (logits - peak.unsqueeze(1)) - log_total.unsqueeze(1)
    logits.copy_(logp.exp() * (level.unsqueeze(1) - h.unsqueeze(1) * logp))


@cache
def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    return torch.compile(function, fullgraph=True)
