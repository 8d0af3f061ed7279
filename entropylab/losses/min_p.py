"""The proxy policy of Lp-Reg: the policy without its least likely tokens (arXiv 2510.03222, eq. 5)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from ..errors import InvalidInputError
from .backend import torch
from .setting_checks import require_fraction, require_number

if TYPE_CHECKING:
    from torch import Tensor

FILTERED_LOGPROB = -1e4
"""What a filtered token gets: finite, and below every logprob."""


@torch.no_grad()
def min_p_logprobs(
    logits: Tensor, tokens: Tensor, *, min_p: float = 0.02, temperature: float = 1.0
) -> Tensor:
    """log π̂ of the sampled tokens, π̂ = π over the tokens with π ≥ min_p · max π, made to sum to 1.

    Args:
        logits: [B, T, V] of the policy that sampled (the paper's choice) or of the current one.
        tokens: int64 [B, T], the sampled tokens.
        min_p: share of the highest probability below which a token is noise; the paper's 0.02.
        temperature: divides the logits.

    Returns:
        [B, T] in nats, without gradient; -1e4 where the sampled token is filtered. For
        ``policy_loss(control=LpReg(), ref_logprobs=...)``.

    Raises:
        InvalidInputError: shapes that do not fit, ``min_p`` outside (0, 1), or a temperature of 0 or less.
    """
    require_fraction("min_p_logprobs", min_p, name="min_p")
    require_number("min_p_logprobs", "temperature", temperature)
    if temperature <= 0:
        raise InvalidInputError(f"min_p_logprobs: temperature={temperature!r} is not positive")
    if logits.dim() != 3 or logits.shape[:2] != tokens.shape:
        raise InvalidInputError(
            f"tokens has shape {list(tokens.shape)}, logits {list(logits.shape)}; give [B, T] and [B, T, V]"
        )
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logprobs = (wide / temperature).log_softmax(-1)
    kept = logprobs >= logprobs.amax(-1, keepdim=True) + math.log(min_p)
    mass = logprobs.masked_fill(~kept, -torch.inf).logsumexp(-1)
    index = tokens.unsqueeze(-1)
    chosen = logprobs.gather(-1, index).squeeze(-1) - mass
    return chosen.masked_fill(~kept.gather(-1, index).squeeze(-1), FILTERED_LOGPROB)
