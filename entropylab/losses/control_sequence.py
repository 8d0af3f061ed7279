"""Controls in a sequence: which go together, and what they need."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ..errors import InvalidInputError
from .controls.adaptive_entropy import AdaptiveEntropyBonus
from .controls.clip_cov import ClipCov
from .controls.entropic import EntroPIC
from .controls.entropy_advantage import EntropyAdvantage
from .controls.entropy_bonus import EntropyBonus
from .controls.kl_cov import KLCov
from .controls.kl_penalty import KLPenalty
from .controls.lp_reg import LpReg
from .controls.random_clip import RandomClip
from .controls.sample_weight import SampleWeight
from .controls.steer import STEER
from .interfaces import AdaptiveControl, Control, SelectingControl, chooses_tokens, is_control

_ONE_OF: dict[tuple[type, ...], str] = {
    (ClipCov, RandomClip): "drop gradients",
    (KLCov,): "penalise tokens of high covariance",
    (EntropyBonus, AdaptiveEntropyBonus): "reward entropy",
    (EntroPIC, SampleWeight): "weigh tokens by the sign of their advantage",
}
"""Kinds of which a sequence holds at most one, and what they do."""

_WEIGHING = (EntropyAdvantage, SampleWeight, STEER)
_ADDING = (EntropyBonus, AdaptiveEntropyBonus, KLPenalty, KLCov, EntroPIC)


def as_controls(control: Any) -> tuple[Control, ...]:
    """No control, one or a sequence of them, as a tuple of controls that go together.

    Raises:
        InvalidInputError: something that is no control; the same kind twice; two that do the same (drop
            gradients, reward entropy, weigh by the sign of A, penalise by covariance), that steer to
            different targets, choose by different covariances or read ``ref_logprobs`` differently; or a
            weight after a control that adds a term of its own.
    """
    if control is None:
        return ()
    controls = (
        tuple(control) if isinstance(control, Sequence) and not isinstance(control, str) else (control,)
    )
    for one in controls:
        if not is_control(one):
            raise InvalidInputError(f"control={one!r} is not a control; give for example ClipCov.paper()")
    _refuse_pairs(controls)
    return controls


def covariance_on(controls: tuple[Control, ...]) -> str:
    """Logprobs of the covariance that the controls choose by and the log holds."""
    return next((one.covariance_on for one in controls if chooses_tokens(one)), "current")


def update_control(control: Any, entropy: float) -> Any:
    """The control (or the sequence of them) after a step whose mean entropy was this; give the result on.

    ``entropy`` is the mean over all tokens of the step and all ranks, in nats. Controls that do not follow
    the entropy, and None, come back as they are.
    """
    if isinstance(control, (list, tuple)):
        return type(control)(update_control(one, entropy) for one in control)
    return control.updated(entropy) if isinstance(control, AdaptiveControl) else control


def _refuse_pairs(controls: tuple[Control, ...]) -> None:
    if len(controls) < 2:
        return
    kinds = [type(one).__name__ for one in controls]
    for kind in kinds:
        if kinds.count(kind) > 1:
            raise InvalidInputError(
                f"control holds {kind} more than once; give one with the settings you want"
            )
    for group, reason in _ONE_OF.items():
        found = [type(one).__name__ for one in controls if isinstance(one, group)]
        if len(found) > 1:
            raise InvalidInputError(f"control holds {' and '.join(found)}, which both {reason}; give one")
    _refuse_two_references(controls)
    _refuse_two_values("target", "steer the entropy to different targets", controls, AdaptiveControl)
    _refuse_two_values("covariance_on", "choose by different covariances", controls, SelectingControl)
    _refuse_late_weights(controls)


def _refuse_two_references(controls: tuple[Control, ...]) -> None:
    readers = [type(one).__name__ for one in controls if "ref_logprobs" in one.needs]
    if len(readers) > 1 and LpReg.__name__ in readers:
        raise InvalidInputError(
            f"control holds {' and '.join(readers)}: to LpReg ref_logprobs= is the filtered proxy policy, to "
            "the other a reference policy; give one"
        )


def _refuse_two_values(name: str, what: str, controls: tuple[Control, ...], protocol: type) -> None:
    values = {type(one).__name__: getattr(one, name) for one in controls if isinstance(one, protocol)}
    if len(set(values.values())) > 1:
        named = ", ".join(f"{kind} has {name}={value!r}" for kind, value in values.items())
        raise InvalidInputError(f"controls {what}: {named}; give both the same")


def _refuse_late_weights(controls: tuple[Control, ...]) -> None:
    """Weights act on the policy gradient, so they come before a control that adds terms of its own."""
    kinds = [type(one) for one in controls]
    if LpReg in kinds and (kinds[0] is not LpReg or any(issubclass(kind, _WEIGHING) for kind in kinds)):
        raise InvalidInputError(
            "LpReg sets the loss of its tokens anew: put it first, and not beside EntropyAdvantage, "
            "SampleWeight or STEER"
        )
    adding: str | None = None
    for one in controls:
        if isinstance(one, _WEIGHING) and adding:
            raise InvalidInputError(
                f"control holds {type(one).__name__} after {adding}, whose term it would weigh too; put "
                f"{type(one).__name__} first"
            )
        if isinstance(one, _ADDING):
            adding = type(one).__name__
