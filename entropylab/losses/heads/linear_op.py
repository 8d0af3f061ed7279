"""Log-probabilities and entropies of tokens from hidden states, differentiable, without all logits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backend import torch
from .autocast import in_autocast
from .gradient import HeadGradient
from .head import Head, HeadSettings, make_head
from .inputs import flat_rows
from .kept import Kept, add_from_kept_
from .sweep import sweep

if TYPE_CHECKING:
    from torch import Tensor

    from .vocab_shard import VocabShard


@torch.compiler.disable
def linear_logprob_entropy(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    *,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    softcap: float | None = None,
    vocab_size: int | None = None,
    mask: Tensor | None = None,
    cache_bytes: int = 0,
    shard: VocabShard | None = None,
    chunk_rows: int | None = None,
    validate: bool | None = None,
) -> tuple[Tensor, Tensor]:
    """(log p(token), H) of p = softmax(z), z = softcap(W x + bias) / temperature, both differentiable.

    With g = ∂L/∂log p(y) and h = ∂L/∂H: ∂L/∂z_j = g·(1[j = y] - p_j) - h·p_j·(log p_j + H). The logits are
    made again in the backward pass (8·N·d·V operations in all), or their exponentials are kept where those
    of all positions fit into ``cache_bytes`` (6·N·d·V). It has first derivatives; a second backward raises.

    Args:
        hidden: [..., d] with gradient, before the head.
        weight: [V, d] with gradient; of this process's shard where there is a ``shard``.
        tokens: int64 [...].
        temperature: of sampling.
        bias: [V] with gradient.
        softcap: c of c·tanh(z/c), before the temperature; None: none. Such heads keep no exponentials.
        vocab_size: rows of a padded ``weight`` that count; None: all.
        mask: bool or 0/1 [...]; positions outside it are not computed and give 0.
        cache_bytes: memory for exponentials, kept in the dtype of ``hidden``.
        shard: which part of a split vocabulary this process holds.
        chunk_rows: positions computed at once; None: by the memory that suits the device.
        validate: check the tokens (waits for the device); None: on for CPU tensors.

    Returns:
        Two tensors [...], nats, fp32 (fp64 for fp64 states).

    Raises:
        InvalidInputError: settings, shapes, dtypes or devices that do not fit; with ``validate`` a token
            outside the vocabulary.
    """
    hidden, weight, bias = in_autocast(hidden, weight, bias)
    settings = HeadSettings(temperature, softcap, vocab_size, shard, chunk_rows)
    vocabulary = make_head(hidden, weight, bias, settings).total
    flat = flat_rows(hidden, tokens, mask, vocabulary, validate)
    call = _Call(settings, flat.tokens, flat.rows, cache_bytes if torch.is_grad_enabled() else 0)
    logprobs, entropy = _LogprobEntropy.apply(flat.states, weight, bias, call)
    return flat.spread(logprobs), flat.spread(entropy)


@dataclass(frozen=True)
class _Call:
    """What belongs to one call beside the tensors with gradient."""

    settings: HeadSettings
    tokens: Tensor
    rows: Tensor
    cache_bytes: int

    def keeps(self, head: Head, states: Tensor) -> bool:
        """Whether exponentials are kept for the backward pass."""
        held = len(self.rows) * head.size * states.dtype.itemsize
        return head.softcap is None and 0 < held <= self.cache_bytes


class _LogprobEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, call: _Call
    ) -> tuple[Tensor, Tensor]:
        """Statistics of the rows; exponentials where they are kept."""
        head = make_head(states, weight, bias, call.settings)
        kept = None
        if any(ctx.needs_input_grad) and call.keeps(head, states):
            kept = Kept.empty(states, len(call.rows), head)
        stats = sweep(head, states, call.tokens, call.rows, kept=kept)
        exponentials, log_total = (None, None) if kept is None else (kept.exponentials, kept.log_total)
        ctx.save_for_backward(states, weight, bias, exponentials, log_total, stats.entropy)
        ctx.call = call
        ctx.set_materialize_grads(False)
        return stats.logprobs, stats.entropy

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor | None) -> tuple[Tensor | None, ...]:
        """The gradient of the rows, with the logits made again or from the kept exponentials.

        An output that no loss reads has none, which saves a pass over the logits.
        """
        states, weight, bias, exponentials, log_total, entropy = ctx.saved_tensors
        call: _Call = ctx.call
        by_entropy = gradients[1]
        by_logprob = torch.zeros_like(entropy) if gradients[0] is None else gradients[0]
        head = make_head(states, weight, bias, call.settings)
        total = HeadGradient.zeros(head, states, ctx.needs_input_grad[:3])
        if exponentials is None:
            sweep(
                head,
                states,
                call.tokens,
                call.rows,
                coefficients=lambda place, _: (
                    by_logprob[place],
                    None if by_entropy is None else by_entropy[place],
                ),
                gradient=total,
            )
        else:
            targets = head.columns(call.tokens[call.rows])
            kept = Kept(exponentials, log_total)
            add_from_kept_(total, head, states, call.rows, targets, kept, entropy, by_logprob, by_entropy)
        return (*total.finished(head, states.shape, len(weight)), None)
