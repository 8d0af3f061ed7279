"""Settings of a trainer that the adapter cannot work with, each refused with the way out."""

from __future__ import annotations

import math
from importlib.metadata import version
from typing import Any

from ...errors import InvalidInputError
from .settings import CLIPPED_LOSSES, TrainerSettings

_FIRST_OPEN_LIGER = (1, 14)
"""From this version on the Liger path goes through the method that the adapter watches."""


def check_trainer(trainer: Any, settings: TrainerSettings, *, controlled: bool) -> None:
    """Raise `InvalidInputError` for a setting that hides the tokens, or that a control cannot act under."""
    _check_visible(trainer)
    if controlled:
        _check_loss(trainer, settings)


def _check_visible(trainer: Any) -> None:
    if _is_unsloth(trainer):
        raise InvalidInputError(
            "attach: Unsloth's GRPO trainer keeps no logprobs of the tokens; train with TRL's own "
            "GRPOTrainer (do not import unsloth)"
        )
    if getattr(trainer.args, "use_liger_kernel", False) and _trl_version() < _FIRST_OPEN_LIGER:
        raise InvalidInputError(
            f"attach: use_liger_kernel=True in TRL {version('trl')} computes the loss without logprobs of "
            "the tokens; set use_liger_kernel=False, or take TRL >= 1.14"
        )


def _check_loss(trainer: Any, settings: TrainerSettings) -> None:
    args = trainer.args
    threshold = getattr(args, "off_policy_mask_threshold", None)
    delta = getattr(args, "delta", None)
    refused = {
        f"loss_type={settings.loss_type!r}": (
            settings.loss_type not in CLIPPED_LOSSES,
            f"set loss_type to one of {', '.join(CLIPPED_LOSSES)}",
        ),
        f"importance_sampling_level={settings.importance_sampling_level!r}": (
            settings.importance_sampling_level != "token",
            "set importance_sampling_level='token'",
        ),
        f"off_policy_mask_threshold={threshold!r}": (
            threshold is not None,
            "set off_policy_mask_threshold=None",
        ),
        f"delta={delta!r}": (delta is not None and math.isfinite(delta), "set delta=None"),
    }
    for name, (wrong, way_out) in refused.items():
        if wrong:
            raise InvalidInputError(
                f"attach: a control cannot act under {name}, where the advantage enters the loss in another "
                f"way than -min(r·A, clamp(r)·A); {way_out}, or attach without control= to observe only"
            )


def _is_unsloth(trainer: Any) -> bool:
    return any("unsloth" in kind.__name__.lower() for kind in type(trainer).__mro__) or hasattr(
        trainer.model.config, "unsloth_version"
    )


def _trl_version() -> tuple[int, int]:
    major, minor = version("trl").split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()))
