"""Statistics of the policy at every position from hidden states, without gradient."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..backend import torch
from .autocast import in_autocast
from .head import HeadSettings, make_head
from .inputs import flat_rows
from .sweep import sweep

if TYPE_CHECKING:
    from torch import Tensor

    from .vocab_shard import VocabShard


@dataclass(frozen=True)
class TokenStats:
    """Of the policy p at each position, in the shape of the tokens; fp32 (fp64 for fp64 states), nats.

    0 outside the mask; NaN logprobs where a token is outside the vocabulary.
    """

    logprobs: Tensor
    """log p of the token."""
    entropy: Tensor
    """-Σ p log p."""
    logsumexp: Tensor
    """log Σ exp z."""
    top_logprob: Tensor | None = None
    """log of the highest p."""
    top_token: Tensor | None = None
    """int64: the token of the highest p."""
    varentropy: Tensor | None = None
    """Variance of log p under p, nats²."""


@torch.no_grad()
def token_stats(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    softcap: float | None = None,
    vocab_size: int | None = None,
    mask: Tensor | None = None,
    top: bool = False,
    varentropy: bool = False,
    shard: VocabShard | None = None,
    chunk_rows: int | None = None,
    validate: bool | None = None,
) -> TokenStats:
    """log p(token) and H of p = softmax(z), z = softcap(W x + bias) / temperature, by chunks of rows.

    Costs 2·N·d·V operations and the memory of two chunks of logits (one with Triton on CUDA), kept in fp32
    whatever the inputs are.

    Args:
        hidden: [..., d], before the head.
        weight: [V, d] of the head; of this process's shard where there is a ``shard``.
        tokens: int64 [...].
        temperature: of sampling.
        bias: [V].
        softcap: c of c·tanh(z/c), before the temperature; None: none.
        vocab_size: rows of a padded ``weight`` that count; None: all.
        mask: bool or 0/1 [...]; positions outside it are not computed.
        top: also the most likely token and its logprob.
        varentropy: also the variance of log p.
        shard: which part of a split vocabulary this process holds.
        chunk_rows: positions computed at once; None: by the memory that suits the device.
        validate: check the tokens (waits for the device); None: on for CPU tensors.

    Raises:
        InvalidInputError: settings, shapes, dtypes or devices that do not fit; with ``validate`` a token
            outside the vocabulary.
    """
    hidden, weight, bias = in_autocast(hidden, weight, bias)
    head = make_head(hidden, weight, bias, HeadSettings(temperature, softcap, vocab_size, shard, chunk_rows))
    flat = flat_rows(hidden, tokens, mask, head.total, validate)
    stats = sweep(head, flat.states, flat.tokens, flat.rows, top=top, varentropy=varentropy)
    spread = flat.spread
    return TokenStats(
        logprobs=spread(stats.logprobs),
        entropy=spread(stats.entropy),
        logsumexp=spread(stats.logsumexp),
        top_logprob=None if stats.top_logprob is None else spread(stats.top_logprob),
        top_token=None if stats.top_token is None else spread(stats.top_token),
        varentropy=None if stats.varentropy is None else spread(stats.varentropy),
    )
