"""The names that our losses have in verl, and the settings behind each. Free of torch and of verl."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...errors import UnknownNameError
from ...losses.interfaces import chooses_tokens
from ...losses.methods import METHODS, Method
from ...losses.translation import translate_settings

PREFIX = "entropylab_"
TRAINER_NAME = "entropylab_sync"
"""Value of ``trainer.v1.trainer_mode``."""

FROM_CONFIG = ("vanilla", "clip_cov", "kl_cov", "gspo", "cispo")
"""Losses of verl whose settings are read from verl's own config under our name."""

_CLIP = ("clip_ratio", "clip_ratio_low", "clip_ratio_high")
_POLICY_LOSS = ("clip_cov_ratio", "clip_cov_lb", "clip_cov_ub", "kl_cov_ratio", "ppo_kl_coef")
_WHERE_NONE = {"ppo_kl_coef": 1.0}
"""What verl takes where a setting is None and not simply absent."""


@dataclass(frozen=True)
class LossSettings:
    """What ``policy_loss`` takes for one of our names."""

    surrogate: Any
    control: Any

    @property
    def chooses(self) -> bool:
        """Whether the control chooses tokens."""
        return chooses_tokens(self.control)

    def on_old_logprobs(self) -> LossSettings:
        """The same settings with the covariance of the old logprobs, known before the first forward pass."""
        if not hasattr(self.control, "covariance_on") or "covariance_on" not in vars(self.control):
            return self
        return replace(self, control=replace(self.control, covariance_on="old"))


def loss_names() -> tuple[str, ...]:
    """Every ``actor.policy_loss.loss_mode`` that the plug-in adds."""
    rows = (row.key for row in METHODS.values() if row.key not in FROM_CONFIG and _fits(row))
    return tuple(PREFIX + name for name in (*FROM_CONFIG, *rows))


def loss_settings(name: str, config: Any) -> LossSettings:
    """The settings of one of our losses; ``config`` is verl's ``actor`` config.

    ``entropylab_`` + a name of ``FROM_CONFIG`` reads verl's own settings, as ``translate_settings`` does.
    ``entropylab_`` + a key of ``METHODS`` is that row as it stands; no setting of verl changes it.

    Raises:
        UnknownNameError: a name that is not ours.
        InvalidInputError: a setting out of range.
    """
    if name not in loss_names():
        raise UnknownNameError(
            f"{name!r} is no loss of entropylab in verl; there are {', '.join(loss_names())}"
        )
    key = name.removeprefix(PREFIX)
    if key not in FROM_CONFIG:
        return LossSettings(METHODS[key].surrogate, METHODS[key].control)
    found = translate_settings("verl", {"loss_mode": key, **_given(config)})
    return LossSettings(found.surrogate, found.control)


def _fits(row: Method) -> bool:
    """Whether verl's loss signature holds all that a method needs.

    It has neither entropy nor reference logprobs nor logits, sees one micro-batch, and keeps no state.
    """
    return (
        not row.needs
        and row.advantages is None
        and not hasattr(row.control, "updated")
        and row.surrogate.scope != "batch"
    )


def _given(config: Any) -> dict[str, Any]:
    """verl's settings by name; ``config`` is a dataclass or a DictConfig."""
    given = {name: getattr(config, name) for name in _CLIP if hasattr(config, name)}
    for name in _POLICY_LOSS:
        if hasattr(config.policy_loss, name):
            value = getattr(config.policy_loss, name)
            given[name] = _WHERE_NONE.get(name) if value is None else value
    return given
