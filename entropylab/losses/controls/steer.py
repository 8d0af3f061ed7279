"""STEER: tokens that would change the entropy most weigh least (arXiv 2510.10150)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidInputError
from ..setting_checks import require_number
from .weighting import weigh_tokens

if TYPE_CHECKING:
    from torch import Tensor

    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms


@dataclass(frozen=True)
class STEER:
    """Loss times λ = exp(-κ·|Ω|), κ = -ln(least) / max(max |Ω|, floor): 1 where Ω = 0, ``least`` at the top.

    Ω = A·r·(1 - p)·(ln p + H), p the current probability of the sampled token and r = p/p_old: a step that
    moves the token's own logit by A·r·(1 - p) moves the entropy of its state by -p·Ω. Needs ``entropy``
    [B, T], nats; nothing of λ carries a gradient. ``scale``: the max |Ω| of a larger set, where a batch comes
    in pieces; None takes that of the tokens given. This is the released code's exponential form (``least``
    0.8 in its script, ``floor`` 0.02), which equals the paper's λ = exp(-α|Ω|/max|Ω|) with α = -ln(least) as
    long as the floor does not act. The linear form and the dual clip at 10 are left out.
    """

    least: float = 0.8
    floor: float = 0.02
    scale: float | None = None

    def __post_init__(self) -> None:
        require_number("STEER", "least", self.least)
        if not 0.0 < self.least <= 1.0:
            raise InvalidInputError(f"STEER: least={self.least!r} is not in (0, 1]")
        require_number("STEER", "floor", self.floor)
        if self.floor <= 0.0:
            raise InvalidInputError(f"STEER: floor={self.floor!r} is not positive")
        if self.scale is not None:
            require_number("STEER", "scale", self.scale, least=0.0)

    @property
    def scope(self) -> str:
        """What the change of a token's loss depends on."""
        return "batch" if self.scale is None else "token"

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ("entropy",)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None = None) -> Terms:
        """The loss with the weights."""
        change = self.entropy_change(batch).abs()
        largest = _largest(change) if self.scale is None else change.new_full((), self.scale)
        rate = math.log(self.least) / largest.clamp(min=self.floor)
        return weigh_tokens(terms, (rate * change).exp_().clamp_(min=self.least))

    @staticmethod
    def entropy_change(batch: TokenBatch) -> Tensor:
        """Ω of each token [B, T], 0 outside the valid ones."""
        from ..masking import keep

        assert batch.entropy is not None
        logprobs = batch.logprobs
        surprise = keep(batch.entropy.detach(), batch.inside) + logprobs
        return batch.signal * batch.ratio * logprobs.expm1() * surprise


def _largest(values: Tensor) -> Tensor:
    return values.amax() if values.numel() else values.sum()
