"""Steering a positive setting so that the entropy stays near a target."""

from __future__ import annotations

import math
from typing import Any

from ...errors import InvalidInputError
from ..setting_checks import require_number


def steer_setting(
    value: float, entropy: float, target: float, gain: float, least: float, most: float
) -> float:
    """``value`` · exp(gain · (target - H) / target), kept within [least, most]."""
    exponent = gain * (target - entropy) / target
    return min(max(value * math.exp(min(exponent, 50.0)), least), most)


def require_target(owner: str, setting: str, value: Any, control: Any) -> None:
    """Check ``target``, ``gain``, ``least`` and ``most`` of a control that steers ``setting``."""
    require_number(owner, "target", control.target)
    if control.target <= 0.0:
        raise InvalidInputError(f"{owner}: target={control.target!r} is not a positive entropy in nats")
    require_number(owner, "gain", control.gain, least=0.0)
    require_number(owner, "least", control.least, least=0.0)
    require_number(owner, "most", control.most)
    if not control.least <= value <= control.most:
        raise InvalidInputError(
            f"{owner}: {setting}={value!r} is not within least={control.least!r} and most={control.most!r}"
        )
