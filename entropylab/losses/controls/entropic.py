"""EntroPIC: a PI controller sets the weights of rewarded and punished tokens (arXiv 2511.15248)."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from ...errors import InvalidInputError
from ..setting_checks import require_number

if TYPE_CHECKING:
    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms


@dataclass(frozen=True)
class EntroPIC:
    """L - ``alpha``·r·|A| on the tokens of probability above ``threshold``, without a ratio clip.

    On an unclipped token this is a weight of 1 + alpha·sign(A). After a step of mean entropy H and error
    e = H - ``target``, ``updated(H)`` sets alpha = clip(``proportional``·e + ``integral_gain``·Σ e, -1, 1),
    the sum over the earlier steps, and then adds e to it. Too little entropy gives alpha < 0: likely tokens
    are reinforced less and punished more. ``alpha`` and ``integral`` are the whole state, so the control
    itself is what a checkpoint stores.

    Formulas, signs and the order of update are those of the authors' released snippet. It divides by the
    number of likely tokens; here all tokens divide, as for the loss itself. It prints no gains and no
    threshold: the defaults are ours.
    """

    scope: ClassVar[str] = "token"
    target: float = 0.3
    proportional: float = 1.0
    integral_gain: float = 0.01
    threshold: float = 0.95
    alpha: float = 0.0
    integral: float = 0.0

    def __post_init__(self) -> None:
        require_number("EntroPIC", "target", self.target, least=0.0)
        require_number("EntroPIC", "proportional", self.proportional, least=0.0)
        require_number("EntroPIC", "integral_gain", self.integral_gain, least=0.0)
        require_number("EntroPIC", "threshold", self.threshold)
        if not 0.0 < self.threshold < 1.0:
            raise InvalidInputError(f"EntroPIC: threshold={self.threshold!r} is not a probability in (0, 1)")
        require_number("EntroPIC", "alpha", self.alpha, least=-1.0)
        if self.alpha > 1.0:
            raise InvalidInputError(f"EntroPIC: alpha={self.alpha!r} is above 1")
        require_number("EntroPIC", "integral", self.integral)

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return ()

    def updated(self, entropy: float) -> EntroPIC:
        """The control after a step whose mean entropy, in nats, was this."""
        require_number("EntroPIC.updated", "entropy", entropy, least=0.0)
        error = entropy - self.target
        alpha = self.proportional * error + self.integral_gain * self.integral
        return replace(self, alpha=min(max(alpha, -1.0), 1.0), integral=self.integral + error)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None = None) -> Terms:
        """The loss with the term on likely tokens."""
        from ..batch import where_unclamped

        likely = (batch.logprobs > math.log(self.threshold)).to(batch.signal.dtype)
        term = (batch.signal * batch.ratio).abs() * likely * -self.alpha
        slope = where_unclamped(term, batch.log_ratio)
        return replace(terms, value=terms.value + term, slope=terms.slope + slope)
