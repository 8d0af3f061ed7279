"""Factors on the policy gradient of each token."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..interfaces import Terms


def weigh_tokens(terms: Terms, factor: Tensor) -> Terms:
    """The loss with ``factor`` [B, T], without gradient, on the value and slope of each token."""
    return replace(
        terms, value=terms.value * factor, slope=terms.slope * factor, weight=terms.weight * factor
    )
