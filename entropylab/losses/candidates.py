"""Tokens that may be chosen on a larger set, and their order: key descending, then (sample_id, position)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from .backend import torch
from .blocks import Units
from .selection import first_by_key

if TYPE_CHECKING:
    from torch import Tensor

    from .keys import Keys
    from .ranking import Covariances


@dataclass(frozen=True)
class Candidates:
    """Tokens [k] by identity; fillers have the key -inf."""

    keys: Tensor
    """fp64."""
    sample_ids: Tensor
    """int64."""
    positions: Tensor
    """int64."""
    covariance: Tensor
    """fp64."""

    def at(self, order: Tensor) -> Candidates:
        """Those at these indices."""
        return Candidates(*(values[order] for values in vars(self).values()))

    def packed(self, width: int) -> Tensor:
        """As int64 [width, 4], filled up: 32 bytes a candidate."""
        n_more = width - len(self.keys)
        keys = torch.nn.functional.pad(self.keys, (0, n_more), value=-torch.inf)
        others = (self.sample_ids, self.positions, self.covariance.view(torch.int64))
        filled = [torch.nn.functional.pad(values, (0, n_more)) for values in others]
        return torch.stack([keys.view(torch.int64), *filled], 1)


def unpacked(words: Tensor) -> Candidates:
    """Candidates from int64 [k, 4]."""
    keys, sample_ids, positions, covariance = words.unbind(1)
    as_numbers = (words.contiguous().view(torch.float64) for words in (keys, covariance))
    keys, covariance = as_numbers
    return Candidates(keys, sample_ids, positions, covariance)


def local_candidates(keys: Keys, covariances: Covariances, count: Tensor, limit: int) -> Candidates:
    """The ``count`` tokens of a batch that come first, in the order (sample_id, position)."""
    found = covariances.found
    rows, counts = first_by_key(keys, count, limit, found.ids_to_sort_by)
    tokens = Units(rows, 1, keys.shape[1])
    values = torch.where(counts, keys.of(tokens).squeeze(1).double(), -torch.inf)
    covariance, _ = covariances.at(tokens)
    ids, positions = tokens.of_responses(found.sample_ids), tokens.positions.squeeze(1)
    chosen = Candidates(values, ids, positions, covariance.squeeze(1).double())
    return chosen.at(_fillers_last(values))


def first_of(candidates: Candidates, count: Tensor, limit: int) -> Candidates:
    """The ``count`` candidates that come first, in the order (sample_id, position); [limit]."""
    order = _by_identity(candidates)
    order = order[candidates.keys[order].argsort(descending=True, stable=True)][:limit]
    first = candidates.at(order)
    past = torch.arange(len(order), device=order.device) >= count
    first = Candidates(first.keys.masked_fill(past, -torch.inf), *list(vars(first).values())[1:])
    first = first.at(_by_identity(first))
    return first.at(_fillers_last(first.keys))


def _by_identity(candidates: Candidates) -> Tensor:
    order = candidates.positions.argsort(stable=True)
    return order[candidates.sample_ids[order].argsort(stable=True)]


def _fillers_last(keys: Tensor) -> Tensor:
    return (keys == -torch.inf).to(torch.int8).argsort(stable=True)
