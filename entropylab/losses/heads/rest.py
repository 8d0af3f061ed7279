"""What the gradient of a loss differs in from what was foreseen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backend import torch
from .looking import may_look
from .provisional import Foreseen
from .rows import is_active

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

    def differing(self, source: TokenSource | None) -> tuple[Tensor, Rest]:
        """Places int64 [k] of the rows that differ, and their differences; all that may where none may look.

        ``source``: of the loss whose chosen tokens are the only ones that may; None: any may.
        """
        if may_look(self.by_logprob):
            places = is_active(self.by_logprob, self.by_entropy).nonzero().squeeze(1)
        elif source is None:
            places = torch.arange(len(self.by_logprob), device=self.by_logprob.device)
        else:
            return source.rows, self.at(source.rows)._where(source.chosen)
        return places, self.at(places)

    def _where(self, counts: Tensor) -> Rest:
        """0 in rows that are fillers: those stand for other rows, and would count twice."""
        by_entropy = self.by_entropy
        return Rest(
            torch.where(counts, self.by_logprob, 0.0),
            None if by_entropy is None else torch.where(counts, by_entropy, 0.0),
        )


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
