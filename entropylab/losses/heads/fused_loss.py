"""The policy loss from hidden states in one pass: the gradient is made while the logits are at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInputError
from ..backend import torch
from ..control_sequence import as_controls
from ..interfaces import Control, Surrogate
from ..policy_loss import PolicyLoss, policy_loss
from ..surrogates import DEFAULT_SURROGATE
from .attached import Linearised, attach_gradients, passed_on
from .head import HeadSettings, make_head
from .head_tokens import HeadTokens
from .inputs import flat_rows
from .linear_op import in_autocast
from .one_pass import Objective, one_pass, wanted_of
from .reference import Reference

if TYPE_CHECKING:
    from torch import Tensor

    from ..collective import Selection
    from .vocab_shard import VocabShard


@torch.compiler.disable
def fused_policy_loss(
    hidden: Tensor,
    weight: Tensor,
    tokens: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    surrogate: Surrogate = DEFAULT_SURROGATE,
    control: Control | list[Control] | tuple[Control, ...] | None = None,
    reduction: str = "token_mean",
    denominator: float | Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    full_kl: Callable[..., Tensor] | None = None,
    selection: Selection | list[Selection | None] | tuple[Selection | None, ...] | None = None,
    sample_ids: Tensor | None = None,
    validate: bool | None = None,
    seed: int = 0,
    step: int = 0,
    temperature: float = 1.0,
    bias: Tensor | None = None,
    ref_hidden: Tensor | None = None,
    ref_weight: Tensor | None = None,
    softcap: float | None = None,
    vocab_size: int | None = None,
    shard: VocabShard | None = None,
    chunk_rows: int | None = None,
) -> PolicyLoss:
    """``policy_loss`` of log softmax(softcap(W x + bias) / temperature), without a tensor of all logits.

    Logits of a chunk of tokens become log π, H and, where the surrogate and the controls look at each token
    alone, their gradient at once: 6·N·d·V operations. The loss is then that of ``policy_loss`` on all tokens,
    and what its gradient differs in (tokens that a control chose) is added: 6·k·d·V more. Surrogates and
    controls that look at responses or the whole batch cost 8·N·d·V. Logits are fp32 whatever the inputs are.

    The gradient is made in the call, for the loss as it is returned, and scaled in the backward pass, which
    overwrites it: it runs once.

    Args:
        hidden: [B, T, d] with gradient, of the positions whose next tokens are ``tokens``.
        weight: [V, d] with gradient; of this process's shard where there is a ``shard``.
        tokens: int64 [B, T].
        old_logprobs: see ``policy_loss``, like all that is not named here.
        advantages: see ``policy_loss``.
        mask: see ``policy_loss``.
        temperature: of sampling.
        bias: [V] with gradient.
        ref_hidden: [B, T, d] of the reference, for controls that need a full divergence or ``ref_logprobs``.
        ref_weight: [V, d] of the reference.
        softcap: c of c·tanh(z/c), before the temperature; None: none.
        vocab_size: rows of a padded ``weight`` that count; None: all.
        shard: which part of a split vocabulary this process holds.
        chunk_rows: tokens computed at once; None: by the memory that suits the device.

    Returns:
        ``PolicyLoss``, whose ``tokens`` also hold ``logprobs`` and ``entropy`` [B, T].

    Raises:
        MissingInputError, InvalidInputError: as ``policy_loss``; and a token outside the vocabulary.
    """
    if hidden.dim() != 3:
        raise InvalidInputError(f"hidden has shape {list(hidden.shape)}: give [B, T, d]")
    tensors = hidden, weight, bias = in_autocast(hidden, weight, bias)
    settings = HeadSettings(temperature, softcap, vocab_size, shard, chunk_rows)
    head = make_head(hidden, weight, bias, settings)
    flat = flat_rows(hidden, tokens, mask, head.total, validate)
    controls = as_controls(control)
    reference = Reference(ref_hidden, ref_weight, settings, bias is not None)
    needs = {name for one in controls for name in one.needs}
    if "ref_logprobs" in needs and ref_logprobs is None:
        ref_logprobs = reference.logprobs(tokens, mask)
    if "full_kl" in needs and full_kl is None:
        full_kl = reference.full_kl(hidden, weight)
    inputs: dict[str, Any] = {"old_logprobs": old_logprobs, "advantages": advantages, "mask": mask}
    inputs |= {"sample_ids": sample_ids, "seed": seed, "step": step}
    if "ref_logprobs" in needs:
        inputs["ref_logprobs"] = ref_logprobs
    made = one_pass(
        head, flat, wanted_of(tensors), Objective(surrogate, controls, reduction, denominator), inputs
    )
    linearised = None if full_kl is None else Linearised(full_kl)
    out = policy_loss(
        made.logprobs,
        surrogate=surrogate,
        control=controls,
        reduction=reduction,
        denominator=denominator,
        entropy=made.entropy if "entropy" in needs else None,
        full_kl=linearised,
        selection=selection,
        validate=validate,
        **inputs,
    )
    source = HeadTokens(out.source, made.logprobs.detach(), made.entropy.detach(), mask)
    if not out.loss.requires_grad:
        return PolicyLoss(out.loss, out.metrics, source)
    results = [] if linearised is None else linearised.results
    by_logprob, by_entropy, *by_results = torch.autograd.grad(
        out.loss, (made.logprobs, made.entropy, *(leaf for _, leaf in results)), allow_unused=True
    )
    made.add_rest_(by_logprob, by_entropy, out.source)
    gradients = made.gradient.finished(head, hidden.shape, len(weight))
    loss = attach_gradients(out.loss.detach(), tensors, gradients)
    return PolicyLoss(loss + passed_on(results, by_results), out.metrics, source)
