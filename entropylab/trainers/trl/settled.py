"""What `attach` settles by itself: how tokens are chosen, and the dead zone of KL-Cov."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

from ...errors import InvalidInputError
from ...losses.controls.kl_cov import KLCov
from ...losses.interfaces import chooses_tokens
from ...losses.surrogates import PPOClip
from .settings import TrainerSettings

CHOICES = ("auto", "old", "forward", "micro_batch")

_DEAD_ZONES = {"bfloat16": 8 * 2.0**-7, "float16": 8 * 2.0**-10}
"""In nats: half the spacing of numbers at a logit of 16."""

_LEAST_DEAD_ZONE = 1e-5
"""In nats: what two forward passes in float32 differ by."""


@dataclass(frozen=True)
class Settled:
    """The control as it will act, and what is to be said about it."""

    control: Any
    select_by: str | None
    """``old``, ``forward`` or ``micro_batch``; None where no tokens are chosen."""
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def settle(control: Any, select_by: str, settings: TrainerSettings) -> Settled:
    """The control with what the trainer's settings decide, with notes and warnings.

    Raises:
        InvalidInputError: an unknown ``select_by``, or ``old`` where the trainer keeps no old logprobs.
    """
    way = _way_of_choosing(select_by, settings)
    if control is None:
        return Settled(None, None)
    notes, warnings = [], list(_warnings(control, settings))
    chooses = chooses_tokens(control)
    if chooses and way == "old" and _has(control, "covariance_on"):
        control = replace(control, covariance_on="old")
        notes.append(
            "entropylab: tokens are chosen over the whole update by the logprobs of the rollout "
            "(covariance_on='old'), which needs no forward pass; select_by='forward' takes the current ones"
        )
    if chooses and way == "micro_batch":
        notes.append(
            "entropylab: select_by='micro_batch': tokens are chosen inside each micro-batch, so the choice "
            "depends on the batch size"
        )
    if chooses and way == "forward" and settings.gradient_accumulation_steps > 1:
        notes.append(
            "entropylab: tokens are chosen over the whole update by the current logprobs, which costs one "
            "more forward pass without gradient; select_by='micro_batch' saves it and chooses inside "
            "micro-batches"
        )
    if isinstance(control, KLCov) and isinstance(settings.surrogate, PPOClip):
        notes.append(
            f"entropylab: epsilon={settings.epsilon_low:g}, epsilon_high={settings.epsilon_high:g} stay in "
            "force; the authors' KL-Cov has no ratio clip: for theirs set GRPOConfig(epsilon=float('inf'))"
        )
    if _wants_dead_zone(control, settings):
        control = replace(control, dead_zone=dead_zone_of(settings.dtype))
        notes.append(
            f"entropylab: old logprobs are recomputed in {settings.dtype}, so KLCov counts log-ratios below "
            f"dead_zone={control.dead_zone:g} nats as 0; give KLCov(dead_zone=...) to set it"
        )
    return Settled(control, way if chooses else None, tuple(notes), tuple(warnings))


def dead_zone_of(dtype: str) -> float:
    """Log-ratios below this, in nats, are rounding: 8 times the dtype's epsilon, at least 1e-5."""
    return max(_DEAD_ZONES.get(dtype, 0.0), _LEAST_DEAD_ZONE)


def _way_of_choosing(select_by: str, settings: TrainerSettings) -> str:
    if select_by not in CHOICES:
        raise InvalidInputError(
            f"attach: select_by={select_by!r} is unknown; choose one of {', '.join(CHOICES)}"
        )
    if select_by == "old" and not settings.keeps_old_logprobs:
        raise InvalidInputError(
            "attach: select_by='old' needs old logprobs, which TRL keeps only off-policy (num_iterations > 1 "
            "or steps_per_generation above gradient_accumulation_steps, and with vLLM and its importance "
            "sampling correction); choose 'forward' or 'micro_batch'"
        )
    if select_by == "auto":
        return "old" if settings.keeps_old_logprobs else "forward"
    return select_by


def _warnings(control: Any, settings: TrainerSettings) -> list[str]:
    found = []
    if _holds_to_old(control) and not settings.keeps_old_logprobs:
        found.append(
            "entropylab: this trainer is on-policy (one update a rollout), so log π - log π_old is 0 and "
            "KLCov to the old policy does nothing; set GRPOConfig(num_iterations=2) or steps_per_generation "
            "above gradient_accumulation_steps, or KLCov(reference='ref') with beta > 0"
        )
    if settings.rewards_entropy:
        found.append(
            f"entropylab: TRL's entropy bonus and {type(control).__name__} both act on the entropy; the run "
            "shows their sum"
        )
    return found


def _wants_dead_zone(control: Any, settings: TrainerSettings) -> bool:
    return settings.keeps_old_logprobs and _holds_to_old(control) and control.dead_zone == 0.0


def _holds_to_old(control: Any) -> bool:
    """A penalty whose gradient is 0 where the policy is still the old one."""
    return isinstance(control, KLCov) and control.reference == "old" and control.divergence != "k1"


def _has(setting: Any, field: str) -> bool:
    return any(one.name == field for one in fields(setting))
