"""Which controls can enter a trainer as a changed advantage, and the way out for the others."""

from __future__ import annotations

from typing import Any

from ...errors import InvalidInputError
from ...losses.controls.clip_cov import ClipCov
from ...losses.controls.divergences import SAMPLED
from ...losses.controls.entropy_advantage import EntropyAdvantage
from ...losses.controls.kl_cov import KLCov
from ...losses.controls.random_clip import RandomClip
from ...losses.controls.sample_weight import SampleWeight
from ...losses.methods import Method
from .settings import TrainerSettings

WEIGHING = (ClipCov, RandomClip, EntropyAdvantage, SampleWeight)
"""Controls that multiply the advantage of a token by a factor."""

_WAYS_OUT = {
    "EntropyBonus": "set GRPOConfig(entropy_coef=...), TRL's own bonus (TRL >= 1.8)",
    "AdaptiveEntropyBonus": "set GRPOConfig(use_adaptive_entropy=True, entropy_target=...) (TRL >= 1.8)",
    "KLPenalty": "set GRPOConfig(beta=...), TRL's own KL penalty",
    "ForkingTokens": "set GRPOConfig(top_entropy_quantile=0.2), TRL's own form",
    "STEER": "its weights depend on the largest change of the whole batch, which no micro-batch knows",
    "EntroPIC": "it sets the loss of likely tokens anew, without the ratio clip that TRL applies",
    "LpReg": "it sets the loss of its tokens anew, and needs a filtered policy that TRL does not compute",
}


def check_control(control: Any, settings: TrainerSettings) -> None:
    """Raise `InvalidInputError` unless the control can be written as a changed advantage."""
    if isinstance(control, (list, tuple)):
        raise InvalidInputError(
            f"attach: control is a sequence of {len(control)}; only one control can enter as a changed "
            "advantage, give one"
        )
    if isinstance(control, type):
        raise InvalidInputError(
            f"attach: control is the class {control.__name__}; give its settings, such as "
            f"{control.__name__}()"
        )
    if isinstance(control, (str, Method)):
        raise InvalidInputError(
            "attach: control names a method, which cannot be written as a changed advantage; give its "
            "control, el.METHODS[...].control, or settings such as el.ClipCov.paper()"
        )
    name = type(control).__name__
    if isinstance(control, KLCov):
        _check_kl_cov(control, settings)
    elif not isinstance(control, WEIGHING):
        way_out = _WAYS_OUT.get(name, "give ClipCov, KLCov, RandomClip, EntropyAdvantage or SampleWeight")
        raise InvalidInputError(
            f"attach: control={name} cannot be written as a changed advantage of TRL's loss: {way_out}"
        )


def _check_kl_cov(control: KLCov, settings: TrainerSettings) -> None:
    if control.divergence not in SAMPLED:
        raise InvalidInputError(
            f"attach: KLCov(divergence={control.divergence!r}) needs the logits of both policies, which "
            f"TRL's loss does not keep; choose one of {', '.join(SAMPLED)}"
        )
    if control.weight != "token_mean":
        raise InvalidInputError(
            f"attach: KLCov(weight={control.weight!r}) divides by the chosen tokens, but TRL divides the "
            "loss of every token by its own count; set weight='token_mean' and scale beta"
        )
    if control.reference == "ref" and settings.beta == 0.0:
        raise InvalidInputError(
            "attach: KLCov(reference='ref') needs reference logprobs, which TRL computes only with beta > 0; "
            "set GRPOConfig(beta=...) or reference='old'"
        )
