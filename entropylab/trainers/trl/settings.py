"""What the adapter reads of a trainer's settings, and what of them goes into the run's config."""

from __future__ import annotations

import math
import re
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from ...losses.settings import to_dict
from ...losses.surrogates import ImportanceSampling, PPOClip

if TYPE_CHECKING:
    from .settled import Settled

_RATIO_BOUND = 1e9
"""Above exp(20), where the losses clamp ratios anyway."""

_LABELS = {"KLCov": "kl_cov", "TargetKLCov": "kl_cov_target", "RandomClip": "placebo"}
_LABELS |= {"TargetClipCov": "clip_cov_target"}

_BONUS = (
    *("entropy_coef", "use_adaptive_entropy", "entropy_target"),
    *("entropy_coef_min", "entropy_coef_max", "entropy_coef_delta"),
)
"""Settings of TRL's own entropy bonus."""


@dataclass(frozen=True)
class TrainerSettings:
    """The settings of a `GRPOTrainer` that decide what the adapter does."""

    loss_type: str
    epsilon_low: float
    epsilon_high: float
    beta: float
    temperature: float
    importance_sampling_level: str
    top_entropy_quantile: float
    entropy_coef: float
    adaptive_entropy: bool
    gradient_accumulation_steps: int
    steps_per_generation: int
    num_iterations: int
    corrects_vllm: bool
    """Old logprobs are recomputed because vLLM sampled the tokens."""
    dtype: str
    seed: int
    rank: int
    world_size: int

    @property
    def keeps_old_logprobs(self) -> bool:
        """Whether the trainer recomputes old logprobs after each generation; if not, it is on-policy."""
        generate_every = self.steps_per_generation * self.num_iterations
        return self.corrects_vllm or self.gradient_accumulation_steps % generate_every != 0

    @property
    def surrogate(self) -> Any:
        """The trainer's ratio clip as a surrogate; None where the loss is none of those with such a clip."""
        if self.loss_type not in CLIPPED_LOSSES or self.importance_sampling_level != "token":
            return None
        if math.isinf(self.epsilon_low) and math.isinf(self.epsilon_high):
            return ImportanceSampling()
        return PPOClip(low=min(self.epsilon_low, 1.0), high=min(self.epsilon_high, _RATIO_BOUND))

    @property
    def rewards_entropy(self) -> bool:
        """Whether the trainer's own entropy bonus is on."""
        return self.entropy_coef != 0.0 or self.adaptive_entropy


CLIPPED_LOSSES = ("grpo", "bnpo", "dr_grpo", "dapo")
"""Loss types that are -min(r·A, clamp(r)·A) and differ in the reduction alone."""


def read_settings(trainer: Any) -> TrainerSettings:
    """The settings of a trainer of any supported version; what a version lacks has its neutral value."""
    args = trainer.args
    corrects = bool(getattr(trainer, "use_vllm", False)) and bool(
        getattr(trainer, "vllm_importance_sampling_correction", False)
    )
    return TrainerSettings(
        loss_type=str(trainer.loss_type),
        epsilon_low=float(trainer.epsilon_low),
        epsilon_high=float(trainer.epsilon_high),
        beta=float(trainer.beta),
        temperature=float(trainer.temperature),
        importance_sampling_level=str(trainer.importance_sampling_level),
        top_entropy_quantile=float(trainer.top_entropy_quantile),
        entropy_coef=float(getattr(trainer, "entropy_coef", 0.0) or 0.0),
        adaptive_entropy=bool(getattr(trainer, "use_adaptive_entropy", False)),
        gradient_accumulation_steps=int(args.gradient_accumulation_steps),
        steps_per_generation=int(args.steps_per_generation),
        num_iterations=int(trainer.num_iterations),
        corrects_vllm=corrects,
        dtype=_dtype_of(trainer),
        seed=int(args.seed),
        rank=int(trainer.accelerator.process_index),
        world_size=int(trainer.accelerator.num_processes),
    )


def describe(trainer: Any, settings: TrainerSettings, settled: Settled) -> dict[str, Any]:
    """The run's config: the settings that its numbers depend on, as strict JSON."""
    args = trainer.args
    read = {name: _plain(value) for name, value in asdict(settings).items() if name != "rank"}
    return {
        "trainer": f"{type(trainer).__module__}.{type(trainer).__qualname__}",
        "libraries": {name: _version(name) for name in ("trl", "transformers", "accelerate", "torch")},
        "model": str(getattr(trainer.model.config, "_name_or_path", "") or type(trainer.model).__name__),
        "vocab_size": getattr(trainer.model.config, "vocab_size", None),
        "tokenizer": str(getattr(trainer.processing_class, "name_or_path", "")),
        "surrogate": to_dict(settings.surrogate),
        "control": to_dict(settled.control),
        "select_by": settled.select_by,
        "intervened": settled.control is not None or settings.rewards_entropy,
        **read,
        "kl_coef": _plain(settings.beta),
        "learning_rate": _plain(float(args.learning_rate)),
        "per_device_train_batch_size": int(args.per_device_train_batch_size),
        "num_generations": int(trainer.num_generations),
        "max_completion_length": _plain(getattr(args, "max_completion_length", None)),
        "scale_rewards": str(getattr(args, "scale_rewards", "")),
        "reward_functions": list(trainer.reward_func_names),
        "entropy_bonus": _entropy_bonus(args) if settings.rewards_entropy else None,
    }


def label_of(control: Any) -> str:
    """The method label of a run under this control."""
    if control is None:
        return "baseline"
    name = type(control).__name__
    return _LABELS.get(name) or re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _entropy_bonus(args: Any) -> dict[str, Any]:
    return {name: _plain(getattr(args, name)) for name in _BONUS if hasattr(args, name)}


def _dtype_of(trainer: Any) -> str:
    """The type that the forward pass computes in: that of autocast, else that of the weights."""
    if getattr(trainer.args, "bf16", False):
        return "bfloat16"
    if getattr(trainer.args, "fp16", False):
        return "float16"
    return str(next(trainer.model.parameters()).dtype).removeprefix("torch.")


def _plain(value: Any) -> Any:
    """The value for strict JSON, which knows no infinity."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
