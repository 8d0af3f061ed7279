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
    from ..backend import torch

    loss = terms.per_token
    kept: Tensor | float = 0.0 if action == "zero" else loss.detach()
    dropped = chosen if terms.dropped is None else terms.dropped | chosen
    return replace(terms, per_token=torch.where(chosen, kept, loss), dropped=dropped)
