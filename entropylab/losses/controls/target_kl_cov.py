"""KL-Cov whose strength follows the entropy. Ours; not a published method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..setting_checks import require_number
from .entropy_target import require_target, steer_setting
from .kl_cov import KLCov


@dataclass(frozen=True)
class TargetKLCov(KLCov):
    """``KLCov`` with beta ← beta·exp(gain·(target - H)/target), within [least, most].

    Ours, built on arXiv 2505.22617; not a published method. The less entropy is left, the stronger the
    penalty. After a step of mean entropy H, ``updated(H)`` gives the next control; ``beta`` is the state.
    """

    target: float = field(default=0.3, kw_only=True)
    gain: float = field(default=0.1, kw_only=True)
    least: float = field(default=1e-2, kw_only=True)
    most: float = field(default=1e2, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_target("TargetKLCov", "beta", self.beta, self)
        if self.least <= 0.0:
            require_number("TargetKLCov", "least", self.least, least=1e-12)

    def updated(self, entropy: float) -> TargetKLCov:
        """The control after a step whose mean entropy, in nats, was this."""
        require_number("TargetKLCov.updated", "entropy", entropy, least=0.0)
        beta = steer_setting(self.beta, entropy, self.target, self.gain, self.least, self.most)
        return replace(self, beta=beta)
