"""An entropy bonus whose coefficient follows the entropy (Skywork-OR1, arXiv 2505.22312)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...errors import InvalidInputError
from ..setting_checks import require_number
from .entropy_bonus import EntropyBonus

if TYPE_CHECKING:
    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms


@dataclass(frozen=True)
class AdaptiveEntropyBonus:
    """L - c·H with c = ``coef`` where ``active``, else 0. Needs ``entropy`` [B, T] with gradient.

    After a step of mean entropy H, ``updated(H)`` gives the next state: ``coef`` + ``delta`` where H < target
    and - ``delta`` elsewhere, kept within [``least``, ``most``], and active only where H < target. ``coef``
    and ``active`` are the whole state, so the control itself is what a checkpoint stores. The settings are
    those of the released scripts, which measure H as the mean of -log π of the sampled tokens before the
    update; the strict comparison is the code's (the report writes H ≤ target).
    """

    scope: ClassVar[str] = "token"
    target: float = 0.2
    delta: float = 1e-4
    least: float = 0.0
    most: float = 5e-3
    coef: float = 0.0
    active: bool = True

    def __post_init__(self) -> None:
        name = "AdaptiveEntropyBonus"
        require_number(name, "target", self.target, least=0.0)
        require_number(name, "delta", self.delta, least=0.0)
        require_number(name, "least", self.least)
        require_number(name, "most", self.most, least=self.least)
        require_number(name, "coef", self.coef, least=self.least)
        if self.coef > self.most:
            raise InvalidInputError(f"{name}: coef={self.coef!r} is above most={self.most!r}")

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ("entropy",)

    def updated(self, entropy: float) -> AdaptiveEntropyBonus:
        """The control after a step whose mean entropy, in nats, was this."""
        require_number("AdaptiveEntropyBonus.updated", "entropy", entropy, least=0.0)
        low = entropy < self.target
        coef = self.coef + (self.delta if low else -self.delta)
        return replace(self, coef=min(max(coef, self.least), self.most), active=low)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None = None) -> Terms:
        """The loss with the bonus on each token."""
        return EntropyBonus(self.coef if self.active else 0.0).apply(batch, terms)
