"""The second pass over the tokens: covariances about the means, and the keys that controls choose by.

Neither is kept: of the keys only the highest of each unit is, and what is chosen among is computed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backend import torch
from .batch import by_token
from .blocks import Collector, Part, Rows, Units, row_blocks
from .covariance import Means
from .keys import Keys, StoredKeys, StreamedKeys, unit_maxima
from .masking import between, count_of, from_bool, keep, lowest_outside
from .selection import reads_few
from .survey import Survey, unclipped_of
from .token_hash import key_of_words, row_words

if TYPE_CHECKING:
    from torch import Tensor

    from .interfaces import SelectingControl


@dataclass(frozen=True)
class RankInputs:
    """What the key of a token may depend on, for some tokens [b, t]."""

    covariance: Tensor
    """[b, t]; -inf outside the valid tokens."""
    sample_ids: Tensor
    """int64 [b]."""
    part: Part
    """Which tokens."""
    seed: int
    step: int
    read_words: Callable[[], Tensor]
    """Gives int32 [b]: ``token_hash.row_words`` of the responses."""
    read_unclipped: Callable[[], Tensor | None]
    """Gives bool [b, t]: the surrogate's ratio clip is not active; None where it has none."""

    @property
    def positions(self) -> Tensor | None:
        """int64 [b, t]; None where they are the numbers of the columns."""
        return self.part.positions

    def hash_key(self, eligible: Tensor) -> Tensor:
        """The key by which tokens are drawn among those where ``eligible`` [b, t] is 1; -inf elsewhere."""
        return key_of_words(eligible, self.read_words(), self.positions)

    def unclipped(self, low: float = -math.inf, high: float = math.inf) -> Tensor:
        """1 for valid tokens of low < covariance < high that the ratio clip leaves alone, 0 elsewhere."""
        free = self.read_unclipped()
        if free is None:
            return between(torch.ones_like(self.covariance), self.covariance, low, high)
        return between(from_bool(free, self.covariance.dtype), self.covariance, low, high)


class Covariances:
    """The covariance of any tokens of a token set."""

    def __init__(self, found: Survey, means: Means, covariance_on: str) -> None:
        self.found = found
        self._logprobs = found.inputs["logprobs" if covariance_on == "current" else "old_logprobs"].detach()
        self._advantages = found.inputs["advantages"].detach()
        self.centring = means.centring(found.dtype)
        self._unclipped: list[Tensor | None] = []
        self._words: list[Tensor] = []

    def at(self, part: Part) -> tuple[Tensor, Tensor]:
        """The covariance of these tokens, 0 outside the valid ones, and 1 at the valid ones."""
        advantages = self._advantages
        advantages = part.of_responses(advantages) if advantages.dim() == 1 else part.of_tokens(advantages)
        covariance = self.centring.logprob(part.of_tokens(self._logprobs))
        covariance.mul_(self.centring.advantage(by_token(advantages)))
        inside = from_bool(part.of_tokens(self.found.inside), covariance.dtype)
        return keep(covariance, inside), inside

    def rank_inputs(self, part: Part, covariance: Tensor) -> RankInputs:
        """What keys of these tokens may depend on, their ``covariance`` given."""
        found = self.found

        def unclipped() -> Tensor | None:
            if not self._unclipped:
                self._unclipped.append(unclipped_of(found))
            whole = self._unclipped[0]
            return None if whole is None else part.of_tokens(whole)

        def words() -> Tensor:
            if not self._words:
                self._words.append(row_words(found.sample_ids, *settings))
            return part.of_responses(self._words[0])

        ids, settings = part.of_responses(found.sample_ids), (found.inputs["seed"], found.inputs["step"])
        return RankInputs(covariance, ids, part, *settings, words, unclipped)

    def keys_at(self, control: SelectingControl) -> Callable[[Units], Tensor]:
        """A function that gives the keys of ``control`` at some units."""

        def compute(units: Units) -> Tensor:
            covariance, inside = self.at(units)
            return control.key(self.rank_inputs(units, lowest_outside(covariance, inside)))

        return compute


@dataclass(frozen=True)
class Ranked:
    """Sums of the covariances, and for each control that chooses its keys."""

    total: Tensor
    """0-d fp64: Σ covariance."""
    positive: Tensor
    """0-d fp64: Σ max(covariance, 0)."""
    keys: tuple[Keys, ...]
    candidates: tuple[Tensor, ...]
    """0-d int64: how many tokens each control may choose."""


@torch.no_grad()
def rank(covariances: Covariances, controls: tuple[SelectingControl, ...], limits: tuple[int, ...]) -> Ranked:
    """Rank the tokens for each control, which chooses at most its limit of them."""
    found = covariances.found
    n_tokens = found.inside.numel()
    streamed = [reads_few(limit, n_tokens) for limit in limits]
    blocks = row_blocks(found.shape, found.inside.device)
    collector = Collector(len(found.inside), len(blocks))
    parts = [_rank_block(collector, rows, covariances, controls, streamed) for rows in blocks]
    sums, candidates = zip(*parts, strict=True)
    total, positive = torch.stack(sums).sum(0, dtype=torch.float64)
    keys: list[Keys] = []
    for i, one in enumerate(controls):
        kept = collector.whole[f"key{i}"]
        compute = covariances.keys_at(one)
        keys.append(StreamedKeys(found.shape, kept, compute) if streamed[i] else StoredKeys(kept))
    counts = tuple(torch.stack(each).sum() for each in zip(*candidates, strict=True))
    return Ranked(total, positive, tuple(keys), counts)


def _rank_block(
    collector: Collector,
    rows: slice,
    covariances: Covariances,
    controls: tuple[SelectingControl, ...],
    streamed: list[bool],
) -> tuple[Tensor, list[Tensor]]:
    """Σ covariance and Σ max(covariance, 0), and how many tokens each control may choose."""
    covariance, inside = covariances.at(Rows(rows))
    sums = torch.stack([covariance.sum(), covariance.clamp(min=0.0).sum()])
    if not controls:
        return sums, []
    given = covariances.rank_inputs(Rows(rows), lowest_outside(covariance, inside))
    candidates = []
    for i, one in enumerate(controls):
        key = one.key(given)
        collector.put(f"key{i}", rows, unit_maxima(key) if streamed[i] else key)
        all_valid = key is given.covariance
        candidates.append(covariances.found.lengths[rows].sum() if all_valid else _count_above(key))
    return sums, candidates


def _count_above(key: Tensor) -> Tensor:
    return count_of(key.clone().gt_(-torch.inf))
