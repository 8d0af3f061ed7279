"""Which method a recipe uses: a key of ``METHODS``, or settings in the environment of the workers."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

from ...errors import InvalidInputError, UnknownNameError
from ...losses.interfaces import chooses_tokens
from ...losses.methods import METHODS
from ...losses.settings import from_dict

METHOD = "ENTROPYLAB_METHOD"
"""Environment variable: a key of ``METHODS``."""
CONTROL, SURROGATE = "ENTROPYLAB_CONTROL", "ENTROPYLAB_SURROGATE"
"""Environment variables: settings as JSON, for example ``{"name": "ClipCov", "fraction": 2e-4}``."""


@dataclass(frozen=True)
class Chosen:
    """Surrogate and control of the loss."""

    surrogate: Any
    control: Any

    @property
    def chooses(self) -> bool:
        """Whether the control chooses tokens."""
        return chooses_tokens(self.control)


def chosen_method(key: str | None = None) -> Chosen:
    """The method ``key``, else that of ``ENTROPYLAB_METHOD``, with the settings of the other two variables.

    Raises:
        InvalidInputError: no method named, or JSON that is not a setting.
        UnknownNameError: a key that ``METHODS`` does not hold.
    """
    key = key or os.environ.get(METHOD)
    if not key:
        raise InvalidInputError(f"no method: give method= or set {METHOD} to one of {', '.join(METHODS)}")
    if key not in METHODS:
        raise UnknownNameError(f"{METHOD}={key!r} is no method; there are {', '.join(METHODS)}")
    row = METHODS[key]
    surrogate, control = _setting(SURROGATE), _setting(CONTROL)
    return Chosen(
        row.surrogate if surrogate is None else surrogate, row.control if control is None else control
    )


def _setting(variable: str) -> Any:
    text = os.environ.get(variable)
    if not text:
        return None
    try:
        return from_dict(json.loads(text))
    except ValueError as error:
        raise InvalidInputError(f"{variable}={text!r}: {error}") from error
