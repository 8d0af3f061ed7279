"""The second pass over the tokens: covariances about the means, and the keys that controls choose by."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backend import torch
from .blocks import Collector, row_blocks
from .covariance import Means, Shift
from .masking import between, count_of, from_bool
from .selection import unit_maxima

if TYPE_CHECKING:
    from torch import Tensor

    from .interfaces import SelectingControl
    from .survey import Survey


@dataclass(frozen=True)
class RankInputs:
    """What the key of a token may depend on."""

    covariance: Tensor
    """[B, T]; -inf outside the valid tokens."""
    clipped: Tensor | None
    """Bool [B, T]: the surrogate's ratio clip is active; None where it has none."""
    sample_ids: Tensor
    """int64 [B]."""
    seed: int
    step: int

    def unclipped(self, low: float = -math.inf, high: float = math.inf) -> Tensor:
        """1 for valid tokens of low < covariance < high that the ratio clip leaves alone, 0 elsewhere."""
        if self.clipped is None:
            free = torch.ones_like(self.covariance)
        else:
            free = from_bool(self.clipped.logical_not(), self.covariance.dtype)
        return between(free, self.covariance, low, high)


@dataclass(frozen=True)
class Key:
    """What tokens are chosen by, the highest first."""

    values: Tensor
    """[B, T]; NaN or -inf where a token may not be chosen."""
    maxima: Tensor
    """Of ``selection.unit_maxima``."""
    candidates: Tensor
    """0-d int64: how many tokens may be chosen."""


@dataclass(frozen=True)
class Ranked:
    """Covariances, and a key for each control that chooses."""

    covariance: Tensor
    """[B, T]; NaN outside the valid tokens."""
    total: Tensor
    """0-d fp64: Σ covariance."""
    positive: Tensor
    """0-d fp64: Σ max(covariance, 0)."""
    keys: tuple[Key, ...]


@torch.no_grad()
def rank(
    found: Survey,
    means: Means,
    covariance_on: str,
    controls: tuple[SelectingControl, ...],
) -> Ranked:
    """The covariance of each token and the key of each control."""
    blocks = row_blocks(found.ratio)
    collector = Collector(len(found.ratio), len(blocks))
    covariances = _Covariances(found, means, covariance_on)
    parts = [_rank_block(collector, rows, found, covariances, controls) for rows in blocks]
    sums, candidates = zip(*parts, strict=True)
    whole = collector.whole
    total, positive = torch.stack(sums).sum(0, dtype=torch.float64)
    keys = []
    for i, counts in enumerate(zip(*candidates, strict=True)):
        values, maxima = whole.get(f"key{i}", whole["covariance"]), whole[f"maxima{i}"]
        keys.append(Key(values, maxima, torch.stack(counts).sum()))
    return Ranked(whole["covariance"], total, positive, tuple(keys))


def _rank_block(
    collector: Collector,
    rows: slice,
    found: Survey,
    covariances: _Covariances,
    controls: tuple[SelectingControl, ...],
) -> tuple[Tensor, list[Tensor]]:
    """Σ covariance and Σ max(covariance, 0), and how many tokens each control may choose."""
    covariance = covariances.put(collector, rows)
    filled = covariance.nan_to_num(-torch.inf)
    clipped = None if found.clipped is None else found.clipped[rows]
    settings = {name: found.inputs[name] for name in ("seed", "step")}
    given = RankInputs(filled, clipped, found.sample_ids[rows], **settings)
    candidates = []
    for i, one in enumerate(controls):
        key = one.key(given)
        collector.put(f"maxima{i}", rows, unit_maxima(key))
        if key is filled:
            candidates.append(found.lengths[rows].sum())
        else:
            collector.put(f"key{i}", rows, key)
            candidates.append(count_of(key.clone().gt_(-torch.inf)))
    zeroed = covariance.nan_to_num(0.0)
    return torch.stack([zeroed.sum(), zeroed.clamp_(min=0.0).sum()]), candidates


class _Covariances:
    """Covariances of blocks of responses; NaN outside the valid tokens."""

    def __init__(self, found: Survey, means: Means, covariance_on: str) -> None:
        inputs, self._ratio = found.inputs, found.ratio
        self._logprobs = inputs["logprobs" if covariance_on == "current" else "old_logprobs"].detach()
        advantages = inputs["advantages"].detach()
        self._advantages = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
        self._centre_logprob = Shift(means.logprob, found.ratio.dtype)
        self._centre_advantage = Shift(means.advantage, found.ratio.dtype)

    def put(self, collector: Collector, rows: slice) -> Tensor:
        covariance = self._centre_logprob(self._logprobs[rows])
        covariance.mul_(self._centre_advantage(self._advantages[rows]))
        ratio = self._ratio[rows]
        collector.multiply("covariance", rows, covariance, ratio / ratio)
        return collector.whole["covariance"][rows]
