"""Entropy bonus: the traditional control, on every token."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ..setting_checks import require_number

if TYPE_CHECKING:
    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms


@dataclass(frozen=True)
class EntropyBonus:
    """L - coef · H: the entropy of every position, in nats, goes through the loss's own reduction.

    Needs ``entropy`` [B, T] with gradient (arXiv 2505.22617, section 4.1).
    """

    scope: ClassVar[str] = "token"
    coef: float

    def __post_init__(self) -> None:
        require_number("EntropyBonus", "coef", self.coef)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ("entropy",)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None = None) -> Terms:
        """The loss with the bonus on each token."""
        from ..masking import gate, keep

        assert batch.entropy is not None
        bonus = keep(batch.entropy, batch.inside).mul_(-self.coef)
        return replace(
            terms, per_token=(*terms.per_token, gate(batch.entropy, bonus, batch.inside * -self.coef))
        )
