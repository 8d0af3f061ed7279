"""Unequal weights of rewarded and punished tokens (NSR and W-REINFORCE, arXiv 2506.01347)."""

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
class SampleWeight:
    """Loss times ``positive`` where A > 0 and times ``negative`` where A < 0.

    ``positive=0.1`` is the paper's recommended λ (W-REINFORCE), 0 its NSR (punished samples alone), and
    ``negative=0`` its PSR. The paper's advantage is the bare reward ±1; on group-relative advantages the
    weights multiply those. All tokens stay in the denominator, whereas the released PSR and NSR drop the
    other samples from the batch.
    """

    scope: ClassVar[str] = "token"
    positive: float = 0.1
    negative: float = 1.0

    def __post_init__(self) -> None:
        require_number("SampleWeight", "positive", self.positive, least=0.0)
        require_number("SampleWeight", "negative", self.negative, least=0.0)
        if self.positive == self.negative == 0.0:
            raise InvalidInputError(
                "SampleWeight: positive and negative are both 0, so nothing would be learnt"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ()

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None = None) -> Terms:
        """The loss with both weights."""
        from ..backend import torch

        punished = torch.where(batch.signal > 0, self.negative, torch.ones_like(batch.signal))
        return weigh_tokens(terms, torch.where(batch.signal < 0, self.positive, punished))
