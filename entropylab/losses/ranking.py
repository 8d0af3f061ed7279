"""The second pass over the tokens: covariances about the means, and the keys that controls choose by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backend import torch
from .blocks import Collector, row_blocks
from .covariance import Means, Shift
from .masking import count_of
from .selection import unit_maxima

if TYPE_CHECKING:
    from torch import Tensor

    from .interfaces import SelectingControl
    from .survey import Survey


@dataclass(frozen=True)
class RankInputs:
    """What the key of a token may depend on."""

    covariance: Tensor
    """[B, T]; NaN outside the valid tokens."""
    clipped: Tensor | None
    """Bool [B, T]: the surrogate's ratio clip is active; None where it has none."""
    sample_ids: Tensor
    """int64 [B]."""
    seed: int
    step: int

    @property
    def unclipped(self) -> Tensor:
        """1 for valid tokens that the ratio clip leaves alone, 0 elsewhere."""
        inside = self.covariance == self.covariance
        free = inside if self.clipped is None else inside.logical_and_(~self.clipped)
        return free.to(self.covariance.dtype)


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
    collector, sums, candidates = Collector(len(found.ratio), len(blocks)), [], []
    covariances = _Covariances(found, means, covariance_on)
    settings = {name: found.inputs[name] for name in ("seed", "step")}
    for rows in blocks:
        covariance = covariances.of(rows)
        zeroed = covariance.nan_to_num(0.0)
        sums.append(torch.stack([zeroed.sum(), zeroed.clamp_(min=0.0).sum()]))
        clipped = None if found.clipped is None else found.clipped[rows]
        given = RankInputs(covariance, clipped, found.sample_ids[rows], **settings)
        keys = [one.key(given) for one in controls]
        candidates.append([_candidates(key) for key in keys])
        collector.put(rows, {"covariance": covariance, **_named(keys, covariance)})
    whole = collector.whole
    total, positive = torch.stack(sums).sum(0, dtype=torch.float64)
    made = []
    for i, counts in enumerate(zip(*candidates, strict=True)):
        values = whole.get(f"values{i}", whole["covariance"])
        made.append(Key(values, whole[f"maxima{i}"], torch.stack(counts).sum()))
    return Ranked(whole["covariance"], total, positive, tuple(made))


class _Covariances:
    """Covariances of blocks of responses; NaN outside the valid tokens."""

    def __init__(self, found: Survey, means: Means, covariance_on: str) -> None:
        inputs, self._ratio = found.inputs, found.ratio
        self._logprobs = inputs["logprobs" if covariance_on == "current" else "old_logprobs"].detach()
        advantages = inputs["advantages"].detach()
        self._advantages = advantages.unsqueeze(1) if advantages.dim() == 1 else advantages
        self._centre_logprob = Shift(means.logprob, found.ratio.dtype)
        self._centre_advantage = Shift(means.advantage, found.ratio.dtype)

    def of(self, rows: slice) -> Tensor:
        covariance = self._centre_logprob(self._logprobs[rows])
        covariance.mul_(self._centre_advantage(self._advantages[rows]))
        ratio = self._ratio[rows]
        return covariance.mul_(ratio / ratio)


def _candidates(key: Tensor) -> Tensor:
    return count_of((key > -torch.inf).to(key.dtype))


def _named(keys: list[Tensor], covariance: Tensor) -> dict[str, Tensor]:
    """The maxima of each key, and its values where they are not the covariances."""
    maxima = {f"maxima{i}": unit_maxima(key) for i, key in enumerate(keys)}
    return {**maxima, **{f"values{i}": key for i, key in enumerate(keys) if key is not covariance}}
