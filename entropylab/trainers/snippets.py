"""A control as code: for one's own loop, for TRL, and as settings of verl. Free of torch and of trainers."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from ..losses.controls.clip_cov import ClipCov
from ..losses.controls.kl_cov import KLCov
from ..losses.methods import METHODS
from .verl.names import PREFIX, loss_names

_ACTOR = "actor_rollout_ref.actor.policy_loss"


def as_code(control: Any) -> str:
    """The control as an expression of ``import entropylab as el``; settings at their default are left out."""
    given = [
        f"{field.name}={getattr(control, field.name)!r}"
        for field in fields(control)
        if field.default is MISSING or getattr(control, field.name) != field.default
    ]
    return f"el.{type(control).__name__}({', '.join(given)})"


def loop_snippet(control: Any) -> str:
    """Lines for a loop of one's own."""
    return (
        "import entropylab as el\n\n"
        f"control = {as_code(control)}\n"
        "out = el.policy_loss(logprobs, old_logprobs, advantages, mask, control=control, step=step)\n"
        "out.loss.backward()"
    )


def trl_snippet(control: Any) -> str:
    """Lines for TRL's ``GRPOTrainer``."""
    return (
        "import entropylab as el\n\n"
        f'el.attach(trainer, "runs/what-if", control={as_code(control)})\n'
        "trainer.train()"
    )


def verl_snippet(control: Any) -> str:
    """Settings of verl with our plug-in, or a sentence where verl's settings cannot say it."""
    settings = verl_settings(control)
    if settings is None:
        return (
            "# verl's settings cannot say this control: its own name and fields hold Clip-Cov by bounds and\n"
            "# KL-Cov on log-ratios; the plug-in adds the rows of METHODS as they stand."
        )
    return " \\\n".join(f"{_ACTOR}.{name}={value}" for name, value in settings.items())


def verl_settings(control: Any) -> dict[str, Any] | None:
    """Names below ``actor.policy_loss`` and their values; None where none say this control."""
    if type(control) is ClipCov and control == ClipCov(control.fraction, "band", control.low, control.high):
        bounds = {"clip_cov_lb": control.low, "clip_cov_ub": control.high}
        return {"loss_mode": f"{PREFIX}clip_cov", "clip_cov_ratio": control.fraction, **bounds}
    if type(control) is KLCov and control == KLCov(fraction=control.fraction, beta=control.beta):
        strength = {"kl_cov_ratio": control.fraction, "ppo_kl_coef": control.beta}
        return {"loss_mode": f"{PREFIX}kl_cov", **strength}
    for key, row in METHODS.items():
        if row.control == control and PREFIX + key in loss_names():
            return {"loss_mode": PREFIX + key}
    return None
