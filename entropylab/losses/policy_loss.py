"""The policy loss: a surrogate, controls in order, a reduction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .advice import advise
from .backend import torch
from .batch import TokenBatch, make_batch
from .collective import Selection, align_selections
from .control_sequence import as_controls, covariance_on
from .covariance import Centred, centre
from .interfaces import Chosen, Control, SelectingControl, Surrogate, Terms
from .masking import count_of, gate
from .metrics import batch_metrics, token_tensors
from .reductions import REDUCTIONS, share_of_set
from .setting_checks import require_choice
from .surrogates import DEFAULT_SURROGATE
from .validation import (
    check_denominator,
    check_full_kl,
    check_needs,
    check_tensors,
    check_values,
    resolve_validate,
)

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class PolicyLoss:
    """What ``policy_loss`` returns."""

    loss: Tensor
    """0-d, differentiable."""
    tokens: dict[str, Tensor]
    """Detached [B, T]: covariance, selected, ratio, clipped, weight; NaN or False outside the mask."""
    metrics: dict[str, Tensor]
    """0-d tensors by name, still on the device."""


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    *,
    surrogate: Surrogate = DEFAULT_SURROGATE,
    control: Control | list[Control] | tuple[Control, ...] | None = None,
    reduction: str = "token_mean",
    denominator: float | Tensor | None = None,
    entropy: Tensor | None = None,
    ref_logprobs: Tensor | None = None,
    full_kl: Callable[..., Tensor] | None = None,
    selection: Selection | list[Selection | None] | tuple[Selection | None, ...] | None = None,
    sample_ids: Tensor | None = None,
    validate: bool | None = None,
    seed: int = 0,
    step: int = 0,
) -> PolicyLoss:
    """L = reduce(surrogate of each token, changed by the controls in order) + terms of the controls.

    Shapes: B responses, T tokens. bf16 and fp16 inputs are computed in fp32; log-ratios are clamped to ±20.
    Values outside the mask never reach loss or gradient, NaN included.

    Args:
        logprobs: [B, T], log π of the sampled tokens in nats, with gradient.
        old_logprobs: [B, T], of the policy that sampled them.
        advantages: [B, T], or [B] where all tokens of a response share one.
        mask: bool or 0/1 [B, T].
        surrogate: ``PPOClip``, ``ImportanceSampling`` or ``REINFORCE``.
        control: one control or a sequence; in a sequence they apply in order.
        reduction: ``token_mean``, ``seq_mean_token_mean``, ``seq_mean_token_sum`` or ``token_sum``.
        denominator: global count of tokens (of responses for ``seq_mean_*``), so that the sum over
            micro-batches equals one large batch.
        entropy: [B, T], nats, with gradient; read only where a control needs it.
        ref_logprobs: [B, T] of the reference policy; read only where a control needs it.
        full_kl: a ``FullKL``, or a callable from flat rows [k] to KL [k] in nats.
        selection: tokens chosen on a larger set by ``select_tokens``; aligned with ``control`` where that is
            a sequence.
        sample_ids: int64 [B], global ids of the responses; ties, hashes and selections refer to them.
        validate: check values (waits for the device); None: on for CPU tensors, off elsewhere. When off, an
            empty mask gives 0 and non-finite values are counted in ``entropylab/nonfinite`` and left out.
        seed: seed of random choices.
        step: training step, so that choices differ between steps.

    Returns:
        ``PolicyLoss`` with ``loss``, ``tokens`` and ``metrics``.

    Raises:
        MissingInputError: an input that a control or the reduction needs.
        InvalidInputError: settings, shapes, dtypes or devices that do not fit; with ``validate`` also an
            empty mask and any non-finite value inside the mask.
    """
    controls = as_controls(control)
    require_choice("policy_loss", "reduction", reduction, tuple(REDUCTIONS))
    used = _used_inputs(controls, {"entropy": entropy, "ref_logprobs": ref_logprobs, "full_kl": full_kl})
    checked = _check_inputs(logprobs, old_logprobs, advantages, mask, used, sample_ids, denominator, validate)
    selections = align_selections(selection, controls, sample_ids, len(logprobs))
    batch = make_batch(
        logprobs, old_logprobs, advantages, mask, sample_ids=sample_ids, seed=seed, step=step, **used
    )
    if checked:
        tensors = {"logprobs": logprobs, "old_logprobs": old_logprobs, "advantages": advantages, **used}
        pieces = denominator is not None or selection is not None
        check_values(batch, mask, tensors, may_be_empty=pieces)
    given = next((one.means for one in selections if one is not None), None)
    centred = centre(batch, covariance_on(controls), given)
    if isinstance(denominator, torch.Tensor):
        denominator = denominator.detach().to(batch.inside.dtype)
    share = share_of_set(reduction, batch, denominator)
    with torch.no_grad():
        terms = surrogate.terms(batch)
    terms, selected = _run_controls(controls, selections, batch, centred, terms, share, checked)
    loss = _reduced(terms, batch, reduction, denominator)
    with torch.no_grad():
        metrics = batch_metrics(batch, terms, centred, selected)
        tokens = token_tensors(batch, terms, centred, selected)
    return PolicyLoss(loss, tokens, metrics)


def _reduced(terms: Terms, batch: TokenBatch, reduction: str, denominator: Any) -> Tensor:
    per_token = sum(terms.per_token, start=gate(batch.source, terms.value, terms.slope))
    return sum(terms.extra, start=REDUCTIONS[reduction](per_token, batch, denominator))


def _used_inputs(controls: tuple[Control, ...], given: dict[str, Any]) -> dict[str, Any]:
    """The optional inputs that some control needs; raises for one that was not given."""
    for one in controls:
        check_needs(type(one).__name__, one.needs, given)
    needed = {name for one in controls for name in one.needs}
    return {name: value for name, value in given.items() if name in needed}


def _check_inputs(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    used: dict[str, Any],
    sample_ids: Tensor | None,
    denominator: Any,
    validate: bool | None,
) -> bool:
    """Check what costs no sync; returns whether values are to be checked too."""
    beside = {name: value for name, value in used.items() if name != "full_kl"}
    if sample_ids is not None:
        beside["sample_ids"] = sample_ids
    check_tensors(logprobs=logprobs, old_logprobs=old_logprobs, advantages=advantages, mask=mask, **beside)
    checked = resolve_validate(validate, logprobs)
    check_denominator(denominator, validate=checked)
    return checked


def _run_controls(
    controls: tuple[Control, ...],
    selections: tuple[Selection | None, ...],
    batch: TokenBatch,
    centred: Centred,
    terms: Terms,
    share: Tensor | float,
    checked: bool,
) -> tuple[Terms, Tensor]:
    """Apply the controls in order; also the union of the tokens they chose. All choose on the surrogate."""
    unclipped = terms.unclipped
    selected: Tensor | None = None
    for one, selection in zip(controls, selections, strict=True):
        chosen = None
        if isinstance(one, SelectingControl):
            if selection is None and checked:
                advise(one, batch, centred)
            chosen = _chosen(one, selection, batch, centred, unclipped, share)
            selected = chosen.mask if selected is None else selected.maximum(chosen.mask)
        terms = one.apply(batch, terms, chosen)
    if checked:
        check_full_kl(terms)
    return terms, torch.zeros_like(batch.inside) if selected is None else selected


@torch.no_grad()
def _chosen(
    control: SelectingControl,
    selection: Selection | None,
    batch: TokenBatch,
    centred: Centred,
    unclipped: Tensor | None,
    share: Tensor | float,
) -> Chosen:
    """The tokens of this batch: chosen inside it, or those of a selection that lie in it."""
    rows, length = batch.shape
    if selection is not None:
        mask = selection.mask(batch.row_ids(), length) * batch.inside
        return Chosen(mask, selection.count, min(selection.limit, rows * length), 1.0)
    limit = control.budget.of(rows * length)
    mask = control.choose(batch, centred, unclipped, limit)
    return Chosen(mask, count_of(mask), limit, share)
