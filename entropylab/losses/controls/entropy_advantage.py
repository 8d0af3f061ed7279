"""Entropy-shaped advantage: uncertain tokens get a larger one (arXiv 2506.14758)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import InvalidInputError
from ..setting_checks import require_number
from .weighting import weigh_tokens

if TYPE_CHECKING:
    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms


@dataclass(frozen=True)
class EntropyAdvantage:
    """A + min(alpha·H, |A|/kappa) in place of A; H without gradient. Needs ``entropy`` [B, T], nats.

    With kappa > 1 the sign of A stays, and every surrogate scales with A, so the control multiplies the loss
    of a token by the factor 1 + min(alpha·H, |A|/kappa)/A (1 where A = 0), which is its weight. Covariances
    stay those of A. The formula is the paper's; the defaults are what it is known for with GRPO, but no
    released code was found to confirm them.
    """

    scope: ClassVar[str] = "token"
    alpha: float = 0.4
    kappa: float = 2.0

    def __post_init__(self) -> None:
        require_number("EntropyAdvantage", "alpha", self.alpha, least=0.0)
        require_number("EntropyAdvantage", "kappa", self.kappa)
        if self.kappa <= 1.0:
            raise InvalidInputError(
                f"EntropyAdvantage: kappa={self.kappa!r} is not above 1: advantages could change sign"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ("entropy",)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None = None) -> Terms:
        """The loss under the shaped advantage."""
        from ..backend import torch
        from ..masking import keep

        assert batch.entropy is not None
        advantage = -batch.signal
        entropy = keep(batch.entropy.detach(), batch.inside)
        shift = (self.alpha * entropy).minimum(advantage.abs() / self.kappa)
        share = torch.where(advantage == 0, 0.0, shift / torch.where(advantage == 0, 1.0, advantage))
        return weigh_tokens(terms, 1.0 + share)
