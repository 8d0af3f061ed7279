"""Entering losses and trainer in verl's registries, once."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass

from .names import TRAINER_NAME, loss_names


@dataclass(frozen=True)
class Registered:
    """What verl's registries hold of ours."""

    losses: tuple[str, ...] = ()
    trainer: str | None = None
    trainer_error: str | None = None
    """Why the trainer could not be registered; the losses work without it."""


_state = Registered()


def registered() -> Registered:
    """What this process has registered."""
    return _state


def register() -> Registered:
    """Register every loss, and the trainer where verl's own trainers can be imported."""
    global _state
    if not _state.losses and importlib.util.find_spec("verl") is not None:
        losses = _register_losses()
        _state = Registered(losses, *_register_trainer())
    return _state


def _register_losses() -> tuple[str, ...]:
    from verl.trainer.ppo.core_algos import register_policy_loss

    from .loss import make_loss

    for name in loss_names():
        register_policy_loss(name)(make_loss(name))
    return loss_names()


def _register_trainer() -> tuple[str | None, str | None]:
    """The trainer's name, or None and the reason: verl's trainers need packages that workers may lack."""
    try:
        from verl.trainer.ppo.v1.trainer_base import register_trainer

        from .trainer import EntropylabSync
    except ImportError as error:
        return None, f"{type(error).__name__}: {error}"
    register_trainer(TRAINER_NAME)(EntropylabSync)
    return TRAINER_NAME, None


def names_in_verl() -> Registered:
    """What verl's registries really hold, in this process, after verl has loaded its plug-ins.

    Raises:
        ImportError: verl is not installed or does not load.
    """
    from verl.trainer.ppo.core_algos import POLICY_LOSS_REGISTRY

    losses = tuple(name for name in loss_names() if name in POLICY_LOSS_REGISTRY)
    base = sys.modules.get("verl.trainer.ppo.v1.trainer_base")
    known = {} if base is None else base.TRAINER_REGISTRY
    return Registered(losses, TRAINER_NAME if TRAINER_NAME in known else None, _state.trainer_error)
