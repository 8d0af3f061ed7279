"""Rows of logits in pure torch: two matrices, overwritten in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backend import torch
from .products import multiply_
from .rows import Folded, RowGradient, RowSlopes

if TYPE_CHECKING:
    from torch import Tensor

    from .head import Head

ENOUGH = 0.9
"""Share of rows with a gradient below which the others are left out of the products."""


def memory(head: Head, rows: int, device: torch.device) -> tuple[Tensor, ...]:
    """For z - peak and its exponentials."""
    return tuple(torch.empty((rows, head.size), dtype=head.wide, device=device) for _ in range(2))


def fold_(
    head: Head,
    memory: tuple[Tensor, ...],
    states: Tensor,
    targets: Tensor,
    *,
    top: bool = False,
    second: bool = False,
) -> Folded:
    """Sums of the logits of ``states`` [n, d]; z - peak and its exponentials stay in ``memory``."""
    logits, exponentials = memory
    _write_logits(head, logits, states)
    peak, top_token = logits.max(1) if top else (logits.amax(1), None)
    logits.sub_(peak.unsqueeze(1))
    torch.exp(logits, out=exponentials)
    at = logits.gather(1, targets.clamp(min=0).unsqueeze(1)).squeeze(1)
    total, moment = exponentials.sum(1), _dot(logits, exponentials)
    squares = None
    if second:
        logits.sub_((moment / total).unsqueeze(1))
        squares = _dot(logits, exponentials.mul_(logits))
    return Folded(peak, total, moment, torch.where(targets >= 0, at, 0.0), top_token, squares)


def _write_logits(head: Head, out: Tensor, states: Tensor) -> None:
    multiply_(out, states, head.weight.t())
    if head.bias is not None:
        out.add_(head.bias)
    if head.softcap is not None:
        out.div_(head.softcap).tanh_().mul_(head.softcap)
    if head.temperature != 1.0:
        out.mul_(1.0 / head.temperature)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ_j a_ij b_ij [n], without a third matrix."""
    return torch.bmm(a.unsqueeze(1), b.unsqueeze(2)).view(-1)


def write_probabilities(
    head: Head, memory: tuple[Tensor, ...], out: Tensor, peak: Tensor, log_total: Tensor
) -> None:
    """exp(z - peak - log_total) to ``out`` [n, V]."""
    torch.mul(memory[1], torch.exp(-log_total).unsqueeze(1), out=out)


def gradient_(
    head: Head, memory: tuple[Tensor, ...], peak: Tensor, log_total: Tensor, slopes: RowSlopes
) -> RowGradient:
    """∂L/∂(W x + bias) of folded rows, in one of the two matrices."""
    logits, exponentials = memory
    by_cap = _cap_slope(head, logits, peak)
    g, h = _by_product(head, slopes)
    inverse = torch.exp(-log_total)
    if h is None:
        by_logits = exponentials.mul_((-g * inverse).unsqueeze(1))
    else:
        slope = (-h * inverse).unsqueeze(1)
        level = (-(g + h * (slopes.entropy - log_total)) * inverse).unsqueeze(1)
        by_logits = torch.addcmul(level, logits, slope, out=logits).mul_(exponentials)
    _add_targets_(by_logits, slopes.targets, g)
    if by_cap is not None:
        by_logits.mul_(by_cap)
    return _of_active(by_logits, slopes.active)


def gradient_of_kept(head: Head, probabilities: Tensor, slopes: RowSlopes) -> RowGradient:
    """∂L/∂(W x + bias) from ``probabilities`` [n, V] of a head without soft cap."""
    g, h = _by_product(head, slopes)
    p = probabilities.to(head.wide)
    if h is None:
        by_logits = p * -g.unsqueeze(1)
    else:
        by_logits = torch.xlogy(p, p).mul_(-h.unsqueeze(1))
        by_logits.addcmul_(p, (g + h * slopes.entropy).unsqueeze(1), value=-1.0)
    _add_targets_(by_logits, slopes.targets, g)
    return _of_active(by_logits, slopes.active)


def _cap_slope(head: Head, logits: Tensor, peak: Tensor) -> Tensor | None:
    """1 - (c-capped logit / c)², the slope of the cap, from z - peak [n, V]; None without a cap."""
    if head.softcap is None:
        return None
    return (logits + peak.unsqueeze(1)).mul_(head.temperature / head.softcap).square_().neg_().add_(1.0)


def _by_product(head: Head, slopes: RowSlopes) -> tuple[Tensor, Tensor | None]:
    """g and h by the slope of the temperature."""
    by_entropy = slopes.by_entropy
    return slopes.by_logprob / head.temperature, None if by_entropy is None else by_entropy / head.temperature


def _add_targets_(by_logits: Tensor, targets: Tensor, g: Tensor) -> None:
    added = torch.where(targets >= 0, g, 0.0).unsqueeze(1)
    by_logits.scatter_add_(1, targets.clamp(min=0).unsqueeze(1), added)


def _of_active(by_logits: Tensor, active: Tensor) -> RowGradient:
    """Rows that are not ``active`` (bool [n]) give nothing, whatever they hold.

    They are left out, or set to 0 where they are few or knowing them would wait for the device.
    """
    places = active.nonzero().squeeze(1) if active.device.type == "cpu" else None
    if places is not None and len(places) < ENOUGH * len(active):
        return RowGradient(by_logits[places], places)
    if places is None or len(places) < len(active):
        by_logits.masked_fill_(~active.unsqueeze(1), 0.0)
    return RowGradient(by_logits)
