"""The table of methods: every surrogate with its control, under a fixed name. Free of torch when imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .controls.clip_cov import ClipCov
from .controls.entropy_bonus import EntropyBonus
from .controls.kl_cov import KLCov
from .controls.kl_penalty import KLPenalty
from .controls.random_clip import RandomClip
from .surrogates import REINFORCE, ImportanceSampling, PPOClip


@dataclass(frozen=True)
class Method:
    """One row of ``METHODS``."""

    key: str
    """Its name in ``METHODS``."""
    surrogate: Any
    """What ``policy_loss(surrogate=...)`` takes."""
    control: Any
    """What ``policy_loss(control=...)`` takes; None for none."""
    origin: str
    """Where it comes from."""
    text: str
    """What it does, in one line."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        return () if self.control is None else self.control.needs


_ROWS = (
    Method("reinforce", REINFORCE(), None, "Williams 1992", "Policy gradient -A·log π, no ratio."),
    Method("grpo", PPOClip(), None, "arXiv 2402.03300", "PPO's ratio clip on group-relative advantages."),
    Method(
        "clip_higher",
        PPOClip(low=0.2, high=0.28),
        None,
        "DAPO, arXiv 2503.14476",
        "A looser upper ratio bound lets rare tokens grow.",
    ),
    Method(
        "entropy_bonus",
        PPOClip(),
        EntropyBonus(coef=5e-3),
        "arXiv 2505.22617, section 4.1",
        "Rewards the entropy of every position.",
    ),
    Method(
        "kl_penalty",
        PPOClip(),
        KLPenalty(coef=1e-2),
        "arXiv 2505.22617, section 4.1; k3 of arXiv 2402.03300",
        "Holds every token near a reference policy.",
    ),
    Method(
        "clip_cov",
        PPOClip(low=1.0, high=1.0),
        ClipCov.paper(),
        "arXiv 2505.22617, eq. 11-12, the authors' settings",
        "Zeroes a random 0.02 % of the tokens, drawn from a band of high covariance.",
    ),
    Method(
        "clip_cov_top",
        REINFORCE(),
        ClipCov.top(),
        "the deterministic reading of Clip-Cov",
        "Detaches the 0.1 % of the tokens with the highest covariance.",
    ),
    Method(
        "kl_cov_7b",
        ImportanceSampling(),
        KLCov.paper("7B"),
        "arXiv 2505.22617, eq. 13-14, the authors' settings for 7B",
        "Penalises |log π - log π_old| on the 0.2 % of the tokens with the highest covariance.",
    ),
    Method(
        "kl_cov_32b",
        ImportanceSampling(),
        KLCov.paper("32B"),
        "arXiv 2505.22617, eq. 13-14, the authors' settings for 32B",
        "Penalises |log π - log π_old| on the 0.02 % of the tokens with the highest covariance.",
    ),
    Method(
        "kl_cov_targeted",
        PPOClip(),
        KLCov.targeted(fraction=2e-3),
        "the full-distribution reading of KL-Cov",
        "Mean full KL to a fixed reference over the 0.2 % of the tokens with the highest covariance.",
    ),
    Method(
        "random_clip",
        PPOClip(low=1.0, high=1.0),
        RandomClip(fraction=2e-4),
        "placebo of clip_cov",
        "Zeroes a random 0.02 % of the tokens, whatever their covariance.",
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType({row.key: row for row in _ROWS})
"""Every method by its key, the traditional ones first."""
