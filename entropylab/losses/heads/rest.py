"""What the gradient of a loss differs in from what was foreseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backend import torch
from .provisional import Foreseen

if TYPE_CHECKING:
    from torch import Tensor

    from ..token_tensors import TokenSource

ROUNDING = 32
"""Numbers that differ by fewer units in the last place are the same."""


@dataclass(frozen=True)
class Rest:
    """Differences [n] of ∂L/∂log π and ∂L/∂H (None: 0) of rows; exactly 0 where they are but rounding."""

    by_logprob: Tensor
    by_entropy: Tensor | None

    @property
    def coefficients(self) -> tuple[Tensor, Tensor | None]:
        """For ``sweep``."""
        return self.by_logprob, self.by_entropy

    def at(self, places: Tensor | slice) -> Rest:
        """Of some rows."""
        return Rest(self.by_logprob[places], None if self.by_entropy is None else self.by_entropy[places])

    def places(self, source: TokenSource | None) -> Tensor:
        """int64: the rows that differ; without waiting for a device, all that may.

        ``source``: of the loss whose chosen tokens are the only ones that may; None: any may.
        """
        if self.by_logprob.device.type != "cpu" and source is not None:
            return source.rows[: len(source.chosen)]
        differs = self.by_logprob != 0
        if self.by_entropy is not None:
            differs |= self.by_entropy != 0
        if differs.device.type == "cpu":
            return differs.nonzero().squeeze(1)
        return torch.arange(len(differs), device=differs.device)


def rest_of(by_logprob: Tensor, by_entropy: Tensor | None, foreseen: Foreseen | None) -> Rest:
    """∂L/∂log π and ∂L/∂H [n] less what was foreseen of them."""
    if foreseen is None:
        return Rest(by_logprob, by_entropy)
    expected = foreseen.by_entropy
    if by_entropy is None and expected is not None:
        by_entropy = torch.zeros_like(expected)
    return Rest(
        _difference(by_logprob, foreseen.by_logprob),
        None if by_entropy is None else _difference(by_entropy, expected),
    )


def _difference(value: Tensor, expected: Tensor | None) -> Tensor:
    if expected is None:
        return value
    change = value - expected
    limit = ROUNDING * torch.finfo(value.dtype).eps * value.abs().maximum(expected.abs())
    return torch.where(change.abs() > limit, change, 0.0)
