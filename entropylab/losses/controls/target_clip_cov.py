"""Clip-Cov whose fraction follows the entropy. Ours; not a published method."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ..setting_checks import require_fraction, require_number
from .clip_cov import ClipCov
from .entropy_target import require_target, steer_setting


@dataclass(frozen=True)
class TargetClipCov(ClipCov):
    """``ClipCov`` with fraction ← fraction·exp(gain·(target - H)/target), within [least, most].

    Ours, built on arXiv 2505.22617; not a published method. The less entropy is left, the more tokens are
    dropped. After a step of mean entropy H, ``updated(H)`` gives the next control; ``fraction`` is the whole
    state. With ``select="band"`` the band bounds what a larger fraction can reach.
    """

    target: float = field(default=0.3, kw_only=True)
    gain: float = field(default=0.1, kw_only=True)
    least: float = field(default=2e-5, kw_only=True)
    most: float = field(default=0.1, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        require_target("TargetClipCov", "fraction", self.fraction, self)
        require_fraction("TargetClipCov", self.least, name="least")
        require_fraction("TargetClipCov", self.most, name="most")

    def updated(self, entropy: float) -> TargetClipCov:
        """The control after a step whose mean entropy, in nats, was this."""
        require_number("TargetClipCov.updated", "entropy", entropy, least=0.0)
        fraction = steer_setting(self.fraction, entropy, self.target, self.gain, self.least, self.most)
        return replace(self, fraction=fraction)
