"""The policy loss from hidden states in one pass: the gradient is made while the logits are at hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInputError
from ..backend import torch
from ..control_sequence import as_controls
from ..interfaces import Control, Surrogate
from ..policy_loss import PolicyLoss, policy_loss
from ..reductions import REDUCTIONS
from ..setting_checks import require_choice
from ..surrogates import DEFAULT_SURROGATE
from ..validation import check_denominator, check_tensors, resolve_validate
from .attached import Linearised, attach_gradients, graph_of_its_own
from .autocast import in_autocast
from .head import HeadSettings, make_head
from .head_tokens import HeadTokens
from .inputs import flat_rows
from .one_pass import Objective, OnePass, one_pass, wanted_of
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
    ref_bias: Tensor | None = None,
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
        ref_bias: [V] of the reference; needed with a ``bias``.
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
    reference = Reference(ref_hidden, ref_weight, ref_bias, settings)
    needs = {name for one in controls for name in one.needs}
    if "ref_logprobs" in needs and ref_logprobs is None:
        ref_logprobs = reference.logprobs(tokens, mask, bias, validate)
    if "full_kl" in needs and full_kl is None:
        full_kl = reference.full_kl(hidden, weight, bias)
    inputs: dict[str, Any] = {"old_logprobs": old_logprobs, "advantages": advantages, "mask": mask}
    if "ref_logprobs" in needs:
        inputs["ref_logprobs"] = ref_logprobs
    if sample_ids is not None:
        inputs["sample_ids"] = sample_ids
    _check(hidden, inputs, reduction, denominator, validate)
    inputs |= {"seed": seed, "step": step}
    linearised = None if full_kl is None else Linearised(full_kl)
    objective = Objective(surrogate, controls, reduction, denominator)
    with graph_of_its_own():
        made = one_pass(head, flat, wanted_of(tensors), objective, inputs)
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
        gradients = _gradients(out, made, [leaf for _, leaf in results], hidden.shape, len(weight))
    owners = (*tensors, *(result for result, _ in results))
    return PolicyLoss(attach_gradients(out.loss.detach(), owners, gradients), out.metrics, source)


def _gradients(
    out: PolicyLoss, made: OnePass, results: list[Tensor], shape: torch.Size, padded: int
) -> tuple[Tensor | None, ...]:
    """∂L of hidden states of a ``shape``, of weight and bias of the ``padded`` vocabulary, and of results."""
    leaves = (made.logprobs, made.entropy) if made.logprobs.requires_grad else ()
    slopes = torch.autograd.grad(out.loss, (*leaves, *results), allow_unused=True)
    if not leaves:
        return (None, None, None, *slopes)
    made.add_rest_(slopes[0], slopes[1], out.source)
    return (*made.gradient.finished(made.head, shape, padded), *slopes[2:])


def _check(
    hidden: Tensor,
    inputs: dict[str, Any],
    reduction: str,
    denominator: float | Tensor | None,
    validate: bool | None,
) -> None:
    """Raise for what ``policy_loss`` would refuse, before the logits are made."""
    require_choice("policy_loss", "reduction", reduction, tuple(REDUCTIONS))
    check_tensors(logprobs=hidden.detach()[..., 0], **inputs)
    check_denominator(denominator, validate=resolve_validate(validate, hidden))
