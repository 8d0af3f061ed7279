"""Taking chosen tokens out of the policy gradient."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..interfaces import Terms

ACTIONS = ("zero", "detach")
"""``zero``: value and gradient vanish; ``detach``: the value stays and the gradient vanishes."""


def drop_tokens(terms: Terms, chosen: Tensor, action: str) -> Terms:
    """The loss without the chosen tokens' gradient; they stay in every denominator."""
    from ..masking import gate

    others = 1.0 - chosen
    if action == "zero":
        value, further = terms.value * others, (term * others for term in terms.per_token)
    else:
        value, further = terms.value, (gate(term, term.detach(), others) for term in terms.per_token)
    return replace(
        terms,
        value=value,
        slope=terms.slope * others,
        weight=terms.weight * others,
        per_token=tuple(further),
    )
