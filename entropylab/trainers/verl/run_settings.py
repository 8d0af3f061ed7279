"""The keys below ``entropylab`` in verl's config, and what `_run.json` keeps of a verl run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from ...errors import InvalidInputError, UnknownNameError
from ...losses.setting_checks import require_choice
from ...losses.settings import to_dict
from .names import LossSettings


@dataclass(frozen=True)
class RunSettings:
    """Set them on verl's command line, for example ``+entropylab.path=runs/clip-cov-s0``."""

    path: str
    """Folder of the run; by default ``entropylab`` below ``trainer.default_local_dir``."""
    method: str
    """Label of the run; by default the ``loss_mode``."""
    choose_on: str = "batch"
    """``batch``: tokens are chosen on the whole batch. ``micro_batch``: inside each, as verl's losses do."""
    every_steps: int = 1
    """Token rows are stored of every n-th step."""
    response_fraction: float = 1.0
    """Token rows are stored of this share of the responses."""
    texts: bool = False
    """Whether the responses are stored as texts too."""
    on_error: Literal["raise", "warn"] = "warn"
    """``warn``: training goes on where the recorder cannot write; ``raise``: it stops."""

    def __post_init__(self) -> None:
        require_choice("entropylab", "choose_on", self.choose_on, ("batch", "micro_batch"))
        require_choice("entropylab", "on_error", self.on_error, ("raise", "warn"))


def run_settings(config: Any) -> RunSettings:
    """The settings in verl's config.

    Raises:
        UnknownNameError: a key below ``entropylab`` that does not exist.
        InvalidInputError: a value out of range.
    """
    given = dict(config.get("entropylab") or {})
    known = [field.name for field in fields(RunSettings)]
    unknown = [str(name) for name in given if name not in known]
    if unknown:
        raise UnknownNameError(f"entropylab.{unknown[0]} is no setting; there are {', '.join(known)}")
    folder = config.trainer.get("default_local_dir") or "."
    given.setdefault("path", str(Path(folder) / "entropylab"))
    given.setdefault("method", config.actor_rollout_ref.actor.policy_loss.get("loss_mode", "vanilla"))
    try:
        return RunSettings(**given)
    except TypeError as error:
        raise InvalidInputError(f"entropylab: {error}") from error


def run_config(config: Any, loss: LossSettings | None, *, whole_batch: bool) -> dict[str, Any]:
    """What the run keeps: the loss's settings and the parts of verl's config that steer the policy."""
    from omegaconf import OmegaConf

    actor, rollout = config.actor_rollout_ref.actor, config.actor_rollout_ref.rollout
    plain = {
        "trainer": "verl",
        "verl": _verl_version(),
        "surrogate": None if loss is None else to_dict(loss.surrogate),
        "control": None if loss is None else to_dict(loss.control),
        "chosen_on": None if loss is None or not loss.chooses else "batch" if whole_batch else "micro_batch",
        "model": config.actor_rollout_ref.model.get("path"),
        "temperature": rollout.get("temperature"),
        "rollout_n": rollout.get("n"),
        "actor": OmegaConf.to_container(actor, resolve=True),
        "algorithm": OmegaConf.to_container(config.algorithm, resolve=True),
        "data": {name: config.data.get(name) for name in ("train_batch_size", "seed")},
    }
    return _finite(plain)


def _verl_version() -> str:
    import verl

    return verl.__version__


def _finite(value: Any) -> Any:
    """The value as strict JSON: what it cannot hold becomes a string."""
    if isinstance(value, Mapping):
        return {str(name): _finite(one) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(one) for one in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    return value if isinstance(value, float) and math.isfinite(value) else str(value)
