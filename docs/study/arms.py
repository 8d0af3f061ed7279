"""What the study compares: regimes of training and the arms within each, as the protocol fixes them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from entropylab.lab.settings import LabMethod, LabSettings, ModelSettings, Start
from entropylab.lab.tasks import GRAPH_COLORING
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.entropy_bonus import EntropyBonus
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.kl_penalty import KLPenalty
from entropylab.losses.controls.random_clip import RandomClip
from entropylab.losses.controls.steer import STEER
from entropylab.losses.surrogates import ImportanceSampling, PPOClip

BASELINE = "baseline"
COOL_DOWN = 0.6
"""The share of the steps after which a released control is off."""


@dataclass(frozen=True)
class Regime:
    """A start, a length, and the arms that are trained from it; evaluated every ``evaluate_every`` steps."""

    name: str
    start: Start
    steps: int
    arms: tuple[LabMethod, ...]
    evaluate_every: int = 20

    @property
    def release_step(self) -> int:
        """The first rollout without control in the released runs."""
        return round(COOL_DOWN * self.steps)

    def settings(self, warm_up: int, seed: int) -> LabSettings:
        """The settings of the runs from one warm-up with one RL seed."""
        return LabSettings(
            replace(self.start, seed=warm_up),
            self.steps,
            self.evaluate_every,
            seed=seed,
            token_every=self.evaluate_every,
        )

    def arm(self, label: str) -> LabMethod:
        """The arm with this label."""
        return next(arm for arm in self.arms if arm.label == label)


def _arm(label: str, key: str, control: Any = None, surrogate: Any = None) -> LabMethod:
    return LabMethod(label, key, surrogate or PPOClip(), control)


MICRO = replace(
    _arm("clip_cov_micro", "clip_cov", ClipCov(fraction=0.02, low=1.0, high=5.0)), micro_batches=8
)
"""Clip-Cov that chooses among the eight responses of one prompt at a time."""


def _all_arms(bonus: float, kl_cov_beta: float) -> tuple[LabMethod, ...]:
    return (
        _arm(BASELINE, "grpo"),
        _arm("clip_cov", "clip_cov", ClipCov(fraction=0.02, low=1.0, high=5.0)),
        _arm("kl_cov", "kl_cov_7b", KLCov(fraction=0.1, beta=kl_cov_beta), ImportanceSampling()),
        _arm("placebo", "random_clip", RandomClip(fraction=0.02)),
        _arm("entropy_bonus", "entropy_bonus", EntropyBonus(coef=bonus)),
        _arm("clip_higher", "clip_higher", None, PPOClip(low=0.2, high=0.28)),
        _arm("kl_penalty", "kl_penalty", KLPenalty(coef=0.05)),
        _arm("clip_cov_top", "clip_cov_top", ClipCov.top(fraction=0.02)),
        _arm("kl_cov_targeted", "kl_cov_targeted", KLCov.targeted(fraction=0.1)),
        _arm("steer", "steer", STEER(), PPOClip(low=0.2, high=0.28)),
    )


START_A = Regime("A", Start("A", stop=750), 150, _all_arms(bonus=0.01, kl_cov_beta=1.0))
START_B = Regime("B", Start("B", stop=1500), 120, (*_all_arms(bonus=0.003, kl_cov_beta=2.0), MICRO))
RARE_X = Regime(
    "rare-x",
    Start("rare-x", stop=1500, operator_weights=(0.49, 0.49, 0.02)),
    600,
    (
        _arm(BASELINE, "grpo"),
        _arm("clip_cov", "clip_cov", ClipCov(fraction=0.04, low=0.5, high=10.0)),
        _arm("kl_cov", "kl_cov_7b", KLCov(fraction=0.2, beta=1.0), ImportanceSampling()),
        _arm("placebo", "random_clip", RandomClip(fraction=0.032)),
        _arm("entropy_bonus", "entropy_bonus", EntropyBonus(coef=0.003)),
    ),
)
COLORING = Regime(
    "coloring",
    Start(
        "coloring",
        stop=500,
        task=GRAPH_COLORING.name,
        model=ModelSettings(vocabulary=len(GRAPH_COLORING.vocabulary)),
    ),
    150,
    (
        _arm(BASELINE, "grpo"),
        _arm("clip_cov", "clip_cov", ClipCov(fraction=0.02, low=1.0, high=5.0)),
        _arm("kl_cov", "kl_cov_7b", KLCov(fraction=0.1, beta=1.0), ImportanceSampling()),
        _arm("placebo", "random_clip", RandomClip(fraction=0.02)),
        _arm("entropy_bonus", "entropy_bonus", EntropyBonus(coef=0.03)),
    ),
)
METHOD_REGIMES = (START_A, START_B, RARE_X, COLORING)


def _of_size(width: int, layers: int) -> Regime:
    model = ModelSettings(width=width, layers=layers)
    start = Start("A", stop=750, model=model)
    return Regime(f"law-{width}x{layers}", start, 300, (_arm(BASELINE, "grpo"),), evaluate_every=10)


LAW_REGIMES = tuple(_of_size(*size) for size in ((24, 2), (40, 2), (64, 2), (104, 2), (152, 3)))
"""The same task and warm-up for models of five sizes, over more than thirty times in parameters."""
REGIMES = {regime.name: regime for regime in (*METHOD_REGIMES, *LAW_REGIMES)}

WARM_UPS, LAW_WARM_UPS = (11, 12, 13, 14, 15), (21, 22, 23)
SEEDS, LAW_SEEDS = (0, 1), (0,)
TUNING_WARM_UP = 100
"""The warm-up that settings were tuned on; no reported run starts from it."""
BONUSES = (0.003, 0.01, 0.03)
