"""What the loss used at each token, made when it is asked for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..errors import InvalidInputError
from .backend import torch
from .blocks import Collector, Rows
from .masking import nan_outside
from .selection import mark_rows

if TYPE_CHECKING:
    from torch import Tensor

    from .controlled import Controlled
    from .interfaces import Terms
    from .ranking import Covariances
    from .survey import Survey


_NAMES = ("covariance", "selected", "ratio", "clipped", "weight")


@dataclass
class TokenSource:
    """What the tensors of each token are made from; it holds the inputs of the loss, uncopied."""

    covariances: Covariances
    controlled: Controlled
    rows: Tensor
    """int64 [k]: flat rows of the chosen tokens, and fillers."""
    chosen: Tensor
    """Bool [k]: which of them are no fillers."""
    versions: dict[str, int]
    """How often each input had been changed in place when the loss was computed, where torch counts it."""
    made: dict[str, Tensor] | None = None

    def tensors(self) -> dict[str, Tensor]:
        """Of ``token_tensors``, made once."""
        if self.made is None:
            self.made = token_tensors(self)
        return self.made


@torch.no_grad()
def token_tensors(source: TokenSource) -> dict[str, Tensor]:
    """Detached [B, T] tensors by name; NaN or False outside the valid tokens.

    ``covariance``: what the choice was made on; ``selected``: chosen by a control (bool [B, T]); ``ratio``:
    π/π_old; ``clipped``: the ratio clip is active; ``weight``: factor on the token's policy gradient, 0 where
    it was clipped or dropped and 1 elsewhere.

    Raises:
        InvalidInputError: an input was changed in place since the loss was computed.
    """
    found, change = source.covariances.found, source.controlled.weight_change
    for name, version in source.versions.items():
        if found.inputs[name]._version != version:
            raise InvalidInputError(
                f"{name} was changed in place after policy_loss; read .tokens before that, "
                "or give policy_loss a copy"
            )
    made = _by_blocks(source.covariances, source.controlled.terms)
    if change is not None and len(source.rows):
        made["weight"].view(-1).index_add_(0, source.rows, change.squeeze(1))
    made["selected"] = mark_rows(source.rows, source.chosen, found.shape)
    return {name: made[name] for name in _NAMES}


def _by_blocks(covariances: Covariances, terms: Terms | None) -> dict[str, Tensor]:
    """All but ``selected``, with the weight of the surrogate alone where no ``terms`` are given."""
    found = covariances.found
    blocks = found.blocks()
    collector = Collector(len(found.inside), len(blocks))
    for rows in blocks:
        batch = found.block(rows)
        missing = nan_outside(batch.inside)
        if terms is None:
            here = found.surrogate.terms(batch)
            weight, free = here.weight, here.unclipped
        else:
            weight, free = terms.weight[rows], None if terms.unclipped is None else terms.unclipped[rows]
        covariance, _ = covariances.at(Rows(rows))
        collector.put("covariance", rows, covariance + missing)
        collector.put("ratio", rows, batch.ratio + missing)
        collector.put("weight", rows, weight + missing)
        clipped = torch.zeros_like(batch.inside) if free is None else free.eq(0)
        collector.put("clipped", rows, clipped, torch.bool)
    return collector.whole


def versions_of(found: Survey) -> dict[str, int]:
    """How often each input was changed in place so far; empty where torch does not count."""
    tensors = {name: x for name, x in found.inputs.items() if isinstance(x, torch.Tensor)}
    if torch.compiler.is_compiling() or any(x.is_inference() for x in tensors.values()):
        return {}
    return {name: x._version for name, x in tensors.items()}
