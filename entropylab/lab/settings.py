"""Settings of the lab and its three presets; needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import InvalidInputError, UnknownNameError
from ..losses.controls.clip_cov import ClipCov
from ..losses.controls.kl_cov import KLCov
from ..losses.controls.random_clip import RandomClip
from ..losses.methods import METHODS
from ..losses.surrogates import ImportanceSampling, PPOClip
from .countdown import VOCABULARY

HEADS = ("logits", "fused")
"""What the loss is made from: logits of all tokens, or hidden states and the head's weight."""


@dataclass(frozen=True)
class ModelSettings:
    """Sizes of the transformer; ``context`` is the longest sequence it has positions for."""

    vocabulary: int = len(VOCABULARY)
    width: int = 64
    layers: int = 2
    heads: int = 4
    context: int = 40


@dataclass(frozen=True)
class Start:
    """A warm-up: AdamW on ``chains`` random right answers, stopped at step ``stop`` of a linear schedule.

    ``operator_weights`` are the chances of +, - and * in the chains. ``seed`` makes the start one certain
    model: how good a warm-up turns out varies with it about as much as a run varies with its method.
    ``task``: a name in TASKS; its vocabulary must fit the ``model``.
    """

    name: str
    stop: int
    seed: int = 0
    operator_weights: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    chains: int = 60_000
    batch: int = 64
    learning_rate: float = 4e-3
    schedule: int = 2000
    max_grad_norm: float = 1.0
    task: str = "countdown"
    model: ModelSettings = ModelSettings()

    def __post_init__(self) -> None:
        if not 0 <= self.stop <= self.schedule:
            raise InvalidInputError(
                f"stop is {self.stop}: give a step from 0 to the schedule's {self.schedule}"
            )


@dataclass(frozen=True)
class LabMethod:
    """One arm of an experiment: a label, the row of METHODS it belongs to, surrogate and control.

    The control acts on the rollouts before ``release_step``; None keeps it on to the end. ``advantages``
    makes the advantages from rewards and prompts (a ``QuantileBaseline``); None: those of GRPO. The control
    chooses within each of ``micro_batches`` equal parts of an update, as trainers do that know no more of it.
    """

    label: str
    method_key: str
    surrogate: Any
    control: Any = None
    release_step: int | None = None
    advantages: Any = None
    micro_batches: int = 1

    def control_at(self, step: int) -> Any:
        """The control that acts on the rollout of a step, None where it has been released."""
        released = self.release_step is not None and step >= self.release_step
        return None if released else self.control


@dataclass(frozen=True)
class LabSettings:
    """Everything but the method: start, length, batch, optimizer, evaluation, stored tokens and seed.

    ``seed`` fixes the problems, the rollouts and the evaluations; the warm-up has its own in ``start``.
    ``token_every``: token rows and texts of every so many steps (the summaries stay exact for all steps).
    ``head``: one of HEADS; both give the same numbers up to rounding. ``influence_every``: of the tokens of
    every so many steps the exact effect on the entropy is recorded; the training stays the same bits.
    """

    start: Start
    steps: int
    evaluate_every: int
    seed: int = 0
    token_every: int = 1
    prompts: int = 32
    group_size: int = 8
    mini_batches: int = 4
    learning_rate: float = 3e-4
    max_grad_norm: float = 1.0
    head: str = "logits"
    influence_every: int | None = None

    def __post_init__(self) -> None:
        if self.head not in HEADS:
            raise InvalidInputError(f"head is {self.head!r}: choose one of {', '.join(HEADS)}")
        for name in ("steps", "evaluate_every", "token_every", "prompts", "mini_batches", "influence_every"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InvalidInputError(f"{name} is {getattr(self, name)}: give at least 1")
        if self.responses % self.mini_batches:
            raise InvalidInputError(
                f"{self.responses} responses a step do not make {self.mini_batches} equal mini-batches"
            )

    def has_influence(self, step: int) -> bool:
        """Whether the influence of this step's tokens is recorded."""
        return self.influence_every is not None and step % self.influence_every == 0

    @property
    def responses(self) -> int:
        """Responses a step."""
        return self.prompts * self.group_size


@dataclass(frozen=True)
class Preset:
    """A named experiment: settings and the methods that share its start."""

    name: str
    settings: LabSettings
    methods: tuple[LabMethod, ...]

    def with_settings(self, **changes: Any) -> Preset:
        """The preset with some of its `LabSettings` changed."""
        return replace(self, settings=replace(self.settings, **changes))

    def with_methods(self, names: Sequence[str]) -> Preset:
        """The preset with these methods: labels of its own or keys of METHODS (else UnknownNameError)."""
        if not names:
            raise InvalidInputError(
                f"no method given: {self.name} has {', '.join(m.label for m in self.methods)}"
            )
        own = {method.label: method for method in self.methods}
        return replace(self, methods=tuple(own.get(name) or method_from_table(name) for name in names))


def method_from_table(key: str) -> LabMethod:
    """A row of METHODS as an arm of an experiment; UnknownNameError for a key that is not there."""
    if key not in METHODS:
        raise UnknownNameError(f"unknown method {key!r}: choose one of {', '.join(METHODS)}")
    row = METHODS[key]
    return LabMethod(key, key, row.surrogate, row.control, advantages=row.advantages)


START_A = Start("A", stop=750, seed=2)
START_B = Start("B", stop=1500, seed=2)
START_RARE_X = Start("rare-x", stop=1500, seed=1, operator_weights=(0.49, 0.49, 0.02))

_BASELINE = LabMethod("baseline", "grpo", PPOClip())
_CLIP_COV = LabMethod("clip_cov", "clip_cov", PPOClip(), ClipCov(fraction=0.02, low=1.0, high=5.0))

DEMO = Preset(
    "demo",
    LabSettings(START_B, steps=150, evaluate_every=10),
    (
        _BASELINE,
        _CLIP_COV,
        LabMethod("kl_cov", "kl_cov_7b", ImportanceSampling(), KLCov(fraction=0.1, beta=2.0)),
    ),
)
"""What ``entropylab demo`` runs."""

SAMPLE_A = Preset(
    "start-a",
    LabSettings(START_A, steps=400, evaluate_every=10, token_every=10),
    (
        _BASELINE,
        _CLIP_COV,
        LabMethod("kl_cov", "kl_cov_7b", ImportanceSampling(), KLCov(fraction=0.1, beta=1.0)),
    ),
)
"""A policy with much to learn: the collapse, the law and both methods."""

INFLUENCE = Preset(
    "influence",
    LabSettings(START_A, steps=100, evaluate_every=10, token_every=10, influence_every=10),
    (_BASELINE, _CLIP_COV),
)
"""A short run of each kind whose stored tokens hold their exact effect on the entropy."""

RARE_X = Preset(
    "rare-x",
    LabSettings(START_RARE_X, steps=1000, evaluate_every=20, token_every=20),
    (
        _BASELINE,
        LabMethod(
            "clip_cov", "clip_cov", PPOClip(), ClipCov(fraction=0.04, low=0.5, high=10.0), release_step=600
        ),
        LabMethod("placebo", "random_clip", PPOClip(), RandomClip(fraction=0.032), release_step=600),
    ),
)
"""A policy that hardly ever multiplies, though half of the held-out problems need it."""
