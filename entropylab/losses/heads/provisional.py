"""The gradient of each token as far as the token alone tells it, before the whole batch is known.

A surrogate that looks at each token alone and controls that do give the gradient of nearly all tokens while
their logits are at hand. Controls that choose tokens are left out; what they change is added afterwards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backend import torch
from ..controlled import changed_everywhere
from ..interfaces import Control, Surrogate, chooses_tokens, scope_of
from ..reductions import REDUCTIONS
from .rows import RowStats

if TYPE_CHECKING:
    from torch import Tensor


def is_foreseeable(surrogate: Surrogate, controls: Sequence[Control]) -> bool:
    """Whether the gradient of a token that no control chose follows from that token alone."""
    return surrogate.scope == "token" and all(
        chooses_tokens(one) or scope_of(one) == "token" for one in controls
    )


@dataclass(frozen=True)
class Lengths:
    """What reductions ask of a batch."""

    lengths: Tensor
    """int64 [B]: valid tokens of each response."""

    @property
    def count(self) -> Tensor:
        """0-d int64."""
        return self.lengths.sum()


def response_weights(reduction: str, valid: Tensor, denominator: Any) -> Tensor:
    """∂loss / ∂(summed loss of a response), fp64 [B], where the tokens ``valid`` (bool [B, T]) are."""
    with torch.enable_grad():
        sums = torch.zeros(len(valid), dtype=torch.float64, device=valid.device, requires_grad=True)
        reduced = REDUCTIONS[reduction](sums, Lengths(valid.sum(1)), denominator)
        return torch.autograd.grad(reduced, sums)[0]


def foresee(
    inputs: Mapping[str, Any],
    rows: Tensor,
    weights: Tensor,
    surrogate: Surrogate,
    controls: Sequence[Control],
    dtype: torch.dtype,
) -> Foreseen:
    """What is foreseen of flat ``rows`` int64 [n], still to be filled."""
    local = tuple(one for one in controls if not chooses_tokens(one))
    rewarded = any("entropy" in one.needs for one in local)
    by_logprob = torch.zeros(len(rows), dtype=dtype, device=rows.device)
    by_entropy = torch.zeros_like(by_logprob) if rewarded else None
    return Foreseen(inputs, rows, weights, surrogate, local, by_logprob, by_entropy)


@dataclass(frozen=True)
class Foreseen:
    """Coefficients for ``sweep`` of the rows of a batch [B, T], and what they were."""

    inputs: Mapping[str, Any]
    """Of ``policy_loss``, by name, without logprobs and entropy."""
    rows: Tensor
    """int64 [n]: flat rows."""
    weights: Tensor
    """[B], of ``response_weights``."""
    surrogate: Surrogate
    controls: tuple[Control, ...]
    by_logprob: Tensor
    """[n], written as the chunks come."""
    by_entropy: Tensor | None
    """[n]; None where no control rewards entropy."""

    def __call__(self, place: slice, stats: RowStats) -> tuple[Tensor, Tensor | None]:
        """Of the rows at ``place``."""
        with torch.enable_grad():
            logprobs = stats.logprobs.unsqueeze(1).requires_grad_()
            entropy = stats.entropy.unsqueeze(1).requires_grad_()
            rows = self.rows[place]
            inputs = self._at(rows) | {"logprobs": logprobs}
            if self.by_entropy is not None:
                inputs["entropy"] = entropy
            found = changed_everywhere(inputs, self.surrogate, self.controls, [None] * len(self.controls))
            total = (found.per_response * self.weights[rows // self._length]).sum()
            by_logprob, by_entropy = torch.autograd.grad(total, (logprobs, entropy), allow_unused=True)
        self.by_logprob[place] = by_logprob.squeeze(1)
        if self.by_entropy is None or by_entropy is None:
            return self.by_logprob[place], None
        self.by_entropy[place] = by_entropy.squeeze(1)
        return self.by_logprob[place], self.by_entropy[place]

    @property
    def _length(self) -> int:
        return self.inputs["mask"].shape[1]

    def _at(self, rows: Tensor) -> dict[str, Any]:
        """The inputs at flat rows [n], as responses of one token."""
        row, column = rows // self._length, rows % self._length

        def pick(values: Any) -> Any:
            if not isinstance(values, torch.Tensor):
                return values
            return values[row] if values.dim() == 1 else values[row, column].unsqueeze(1)

        return {name: pick(values) for name, values in self.inputs.items()}
