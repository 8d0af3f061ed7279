"""Which tokens will count, as far as the inputs tell it before the logits are known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ..backend import torch
from ..batch import by_token
from ..fixed_point import LARGEST
from .inputs import FlatRows

if TYPE_CHECKING:
    from torch import Tensor

_LOOKED_AT = ("old_logprobs", "advantages", "ref_logprobs")


@torch.no_grad()
def valid_beforehand(flat: FlatRows, inputs: Mapping[str, Any], vocabulary: int) -> Tensor:
    """Bool [B, T]: inside the mask, with finite inputs and a token of the vocabulary.

    A token that turns out not to count changes the mean over all others, so their gradients would have to be
    made again; where the host must not wait for the device, they could not.
    """
    known = (flat.tokens >= 0) & (flat.tokens < vocabulary)
    known &= flat.states.sum(1, dtype=torch.float32).isfinite()
    valid = known.view(flat.shape) & (inputs["mask"] != 0)
    for name in _LOOKED_AT:
        if name in inputs:
            valid &= by_token(inputs[name]).abs() < LARGEST
    return valid
