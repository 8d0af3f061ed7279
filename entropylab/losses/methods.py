"""The table of methods: every surrogate with its control, under a fixed name. Free of torch when imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from .controls.adaptive_entropy import AdaptiveEntropyBonus
from .controls.clip_cov import ClipCov
from .controls.entropic import EntroPIC
from .controls.entropy_advantage import EntropyAdvantage
from .controls.entropy_bonus import EntropyBonus
from .controls.forking_tokens import ForkingTokens
from .controls.kl_cov import KLCov
from .controls.kl_penalty import KLPenalty
from .controls.lp_reg import LpReg
from .controls.quantile_baseline import QuantileBaseline
from .controls.random_clip import RandomClip
from .controls.sample_weight import SampleWeight
from .controls.steer import STEER
from .controls.target_clip_cov import TargetClipCov
from .controls.target_kl_cov import TargetKLCov
from .surrogates import BAPO, CISPO, GPPO, GSPO, REINFORCE, ImportanceSampling, PPOClip


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
    advantages: Any = None
    """What makes the advantages from rewards and prompt ids; None: the trainer's own."""

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
        "arXiv 2505.22617, eq. 11-12; the authors' and verl-recipe's scripts",
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
        "arXiv 2505.22617, eq. 13-14; the authors' and verl-recipe's scripts for 7B",
        "Penalises |log π - log π_old| on the 0.2 % of the tokens with the highest covariance.",
    ),
    Method(
        "kl_cov_32b",
        ImportanceSampling(),
        KLCov.paper("32B"),
        "arXiv 2505.22617, eq. 13-14; the authors' and verl-recipe's scripts for 32B",
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
    Method(
        "adaptive_entropy",
        PPOClip(),
        AdaptiveEntropyBonus(),
        "Skywork-OR1, arXiv 2505.22312",
        "An entropy bonus that grows while the entropy is below its target and is off above it.",
    ),
    Method(
        "forking_tokens",
        PPOClip(low=0.2, high=0.28),
        ForkingTokens(),
        "arXiv 2506.01939",
        "Only the 20 % of the tokens with the highest entropy learn.",
    ),
    Method(
        "entropy_advantage",
        PPOClip(),
        EntropyAdvantage(),
        "arXiv 2506.14758",
        "Raises the advantage of uncertain tokens, by at most half of its size.",
    ),
    Method(
        "cispo",
        CISPO(),
        None,
        "MiniMax-M1, arXiv 2506.13585",
        "Bounds the ratio as a weight, so that no token loses its gradient.",
    ),
    Method(
        "gspo",
        GSPO(),
        None,
        "arXiv 2507.18071",
        "Clips one ratio for a whole response; pair it with reduction='seq_mean_token_mean'.",
    ),
    Method(
        "gppo",
        GPPO(),
        None,
        "Klear-Reasoner, arXiv 2508.07629",
        "PPO's value, but clipped tokens keep a gradient at the bound.",
    ),
    Method(
        "ce_gppo",
        GPPO(low=0.2, high=0.2, beta_low=0.75, beta_high=1.0),
        None,
        "arXiv 2509.20712, the authors' settings for 7B",
        "Clipped tokens keep a gradient, weighted apart on both sides to steer the entropy.",
    ),
    Method(
        "qae",
        PPOClip(low=0.2, high=0.28),
        None,
        "arXiv 2509.22611",
        "A quantile of the group's rewards replaces their mean as baseline.",
        advantages=QuantileBaseline(),
    ),
    Method(
        "lp_reg",
        PPOClip(low=1.0, high=9.0),
        LpReg(),
        "arXiv 2510.03222, the authors' settings for 14B",
        "Holds plausible, unlikely tokens of negative advantage near a filtered policy.",
    ),
    Method(
        "steer",
        PPOClip(low=0.2, high=0.28),
        STEER(),
        "arXiv 2510.10150, the authors' script",
        "Tokens that would change the entropy most weigh least.",
    ),
    Method(
        "bapo",
        BAPO(),
        None,
        "arXiv 2510.18927, the released recipe",
        "Moves both clip bounds until rewarded tokens weigh as much as punished ones.",
    ),
    Method(
        "w_reinforce",
        REINFORCE(),
        SampleWeight(positive=0.1, negative=1.0),
        "W-REINFORCE, arXiv 2506.01347",
        "Rewarded tokens weigh a tenth of punished ones.",
    ),
    Method(
        "entropic",
        PPOClip(),
        EntroPIC(),
        "arXiv 2511.15248; gains and threshold ours",
        "A PI controller weighs likely tokens by the sign of their advantage to hold an entropy.",
    ),
    Method(
        "clip_cov_target",
        PPOClip(low=1.0, high=1.0),
        TargetClipCov(),
        "ours, on arXiv 2505.22617",
        "Clip-Cov whose fraction grows while the entropy is below its target.",
    ),
    Method(
        "kl_cov_target",
        ImportanceSampling(),
        TargetKLCov(),
        "ours, on arXiv 2505.22617",
        "KL-Cov whose strength grows while the entropy is below its target.",
    ),
    Method(
        "verl_clip_cov",
        PPOClip(low=0.2, high=0.2),
        ClipCov(fraction=2e-4, low=1.0, high=5.0),
        "verl's defaults",
        "clip_cov behind PPO's usual ratio clip, which the authors' scripts open to (0, 2).",
    ),
    Method(
        "verl_kl_cov",
        ImportanceSampling(),
        KLCov(fraction=2e-4, beta=0.1),
        "verl's defaults",
        "kl_cov_32b at a tenth of the authors' strength.",
    ),
    Method(
        "skyrl_kl_cov",
        ImportanceSampling(),
        KLCov(fraction=0.2, beta=1.0),
        "SkyRL's defaults",
        "kl_cov on a fifth of the tokens: 100 times the authors' fraction for 7B.",
    ),
)

METHODS: Mapping[str, Method] = MappingProxyType({row.key: row for row in _ROWS})
"""Every method by its key, the traditional ones first."""
