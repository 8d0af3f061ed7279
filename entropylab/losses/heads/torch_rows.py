"""Rows of logits in pure torch: two matrices, overwritten in place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backend import torch
from .looking import may_look
from .products import multiply_
from .rows import Folded, RowGradient, RowSlopes

if TYPE_CHECKING:
    from torch import Tensor

    from .head import Head

DOT_COLUMNS = 1024
"""Columns that one product of rows sums up on a CPU, where it adds them one by one and rounds each time."""
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
    write_logits(head, logits, states)
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


def write_logits(head: Head, out: Tensor, states: Tensor) -> None:
    """Logits z [n, V] of ``states`` [n, d], as factors, to ``out``."""
    multiply_(out, states, head.weight.t())
    if head.bias is not None:
        out.add_(head.bias)
    if head.softcap is not None:
        out.div_(head.softcap).tanh_().mul_(head.softcap)
    if head.temperature != 1.0:
        out.mul_(1.0 / head.temperature)


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Σ_j a_ij b_ij [n], without a third matrix."""
    width = DOT_COLUMNS if a.device.type == "cpu" else max(1, a.shape[1])
    pairs = zip(a.split(width, 1), b.split(width, 1), strict=True)
    return torch.stack([torch.bmm(x.unsqueeze(1), y.unsqueeze(2)).view(-1) for x, y in pairs]).sum(0)


def write_exponentials(head: Head, memory: tuple[Tensor, ...], out: Tensor, peak: Tensor) -> None:
    """exp(z - peak) to ``out`` [n, V]."""
    out.copy_(memory[1])


def gradient_(
    head: Head, memory: tuple[Tensor, ...], peak: Tensor, log_total: Tensor, slopes: RowSlopes
) -> RowGradient:
    """∂L/∂(W x + bias) of folded rows, in one of the two matrices."""
    logits, exponentials = memory
    by_cap = cap_slope(head, logits, peak.unsqueeze(1))
    g, h = by_product(head, slopes)
    inverse = torch.exp(-log_total)
    if h is None:
        by_logits = exponentials.mul_((-g * inverse).unsqueeze(1))
    else:
        slope = (-h * inverse).unsqueeze(1)
        level = (-(g + h * (slopes.entropy - log_total)) * inverse).unsqueeze(1)
        by_logits = torch.addcmul(level, logits, slope, out=logits).mul_(exponentials)
    add_targets_(by_logits, slopes.targets, g)
    if by_cap is not None:
        by_logits.mul_(by_cap)
    return only_active(by_logits, slopes.active)


def gradient_of_kept(head: Head, exponentials: Tensor, log_total: Tensor, slopes: RowSlopes) -> RowGradient:
    """∂L/∂(W x + bias) from ``exponentials`` [n, V] of a head without soft cap."""
    g, h = by_product(head, slopes)
    e, share = exponentials.to(head.wide), torch.exp(-log_total)
    if h is None:
        by_logits = e * (-g * share).unsqueeze(1)
    else:
        by_logits = torch.xlogy(e, e).mul_((-h * share).unsqueeze(1))
        level = (g + h * (slopes.entropy - log_total)) * share
        by_logits.addcmul_(e, level.unsqueeze(1), value=-1.0)
    add_targets_(by_logits, slopes.targets, g)
    return only_active(by_logits, slopes.active)


def cap_slope(head: Head, logits: Tensor, peak: Tensor | float = 0.0) -> Tensor | None:
    """1 - (c-capped logit / c)², the slope of the cap, from z - peak [n, V]; None without a cap."""
    if head.softcap is None:
        return None
    return (logits + peak).mul_(head.temperature / head.softcap).square_().neg_().add_(1.0)


def by_product(head: Head, slopes: RowSlopes) -> tuple[Tensor, Tensor | None]:
    """g and h by the slope of the temperature."""
    by_entropy = slopes.by_entropy
    return slopes.by_logprob / head.temperature, None if by_entropy is None else by_entropy / head.temperature


def add_targets_(by_logits: Tensor, targets: Tensor, g: Tensor) -> None:
    """Add g [n] in the columns ``targets`` [n] that there are."""
    added = torch.where(targets >= 0, g, 0.0).unsqueeze(1)
    by_logits.scatter_add_(1, targets.clamp(min=0).unsqueeze(1), added)


def only_active(by_logits: Tensor, active: Tensor) -> RowGradient:
    """Rows that are not ``active`` (bool [n]) give nothing, whatever they hold.

    They are left out, or set to 0 where they are few or knowing them would wait for the device.
    """
    places = active.nonzero().squeeze(1) if may_look(active) else None
    if places is not None and len(places) < ENOUGH * len(active):
        return RowGradient(by_logits[places], places)
    if places is not None and len(places) == len(active):
        return RowGradient(by_logits)
    idle = ~active
    return RowGradient(by_logits.masked_fill_(idle.unsqueeze(1), 0.0), idle=idle)
