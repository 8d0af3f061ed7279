"""A head whose vocabulary is split over processes: each row of logits is folded once, over all shards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInputError
from ..backend import torch
from .rows import Folded

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class VocabShard:
    """This process's rows ``start`` to ``start`` + V_local of a head of ``total`` rows.

    ``group``: the torch.distributed process group that holds all shards; None: the default group. Shards may
    have different sizes. Every process gives the same hidden states and tokens.
    """

    start: int
    total: int
    group: Any = None

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.total:
            raise InvalidInputError(f"VocabShard: start={self.start!r} is not in [0, total={self.total!r})")

    @property
    def mean_size(self) -> int:
        """Rows of a shard if all had as many, rounded up."""
        return -(-self.total // torch.distributed.get_world_size(self.group))

    def local(self, tokens: Tensor, size: int) -> Tensor:
        """Columns of the tokens in a shard of ``size`` rows; -1 for those that another shard holds."""
        columns = tokens - self.start
        return torch.where((columns >= 0) & (columns < size), columns, -1)

    def merged(self, folded: Folded, held: Tensor) -> Folded:
        """The sums over all shards, by one all_gather; the same bits in every process.

        ``held`` bool [n]: this shard has the row's token.
        """
        target = torch.where(held, folded.target, -torch.inf)
        mine = [folded.peak, folded.total, folded.moment, target]
        if folded.second is not None:
            mine.append(folded.second)
        if folded.top_token is not None:
            mine.append((folded.top_token + self.start).to(folded.peak.dtype))
        peak, total, moment, target, *others = self._gathered(torch.stack(mine))
        highest, first = peak.max(0)
        shift = peak - highest
        scale = shift.exp()
        own = moment / total + shift
        total, moment = scale * total, scale * (moment + shift * total)
        second = None
        if folded.second is not None:
            mean = moment.sum(0) / total.sum(0)
            second = (scale * others.pop(0) + total * (own - mean).square()).sum(0)
        top = None
        if folded.top_token is not None:
            top = others.pop(0).gather(0, first.unsqueeze(0)).squeeze(0).long()
        return Folded(highest, total.sum(0), moment.sum(0), (target + shift).amax(0), top, second)

    def _gathered(self, mine: Tensor) -> Tensor:
        """[columns, world, n] from [columns, n]."""
        every = [torch.empty_like(mine) for _ in range(torch.distributed.get_world_size(self.group))]
        torch.distributed.all_gather(every, mine, group=self.group)
        return torch.stack(every, dim=1)

    def add_up_(self, states_gradient: Tensor) -> None:
        """Sum the gradient of the hidden states over the shards, in place."""
        torch.distributed.all_reduce(states_gradient, group=self.group)
