"""The policy loss: a surrogate, controls in order, a reduction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

from .advice import advise
from .backend import torch
from .choosing import batch_at, choose, union_of
from .collective import Selection, align_selections
from .control_sequence import as_controls, covariance_on
from .controlled import acts_on_chosen, changed_at_chosen, changed_everywhere
from .covariance import centre, means_of
from .interfaces import Chosen, Control, SelectingControl, Surrogate, chooses_tokens
from .metrics import batch_metrics
from .ranking import Covariances, Ranked, rank
from .reductions import REDUCTIONS, share_of_set
from .setting_checks import require_choice
from .surrogates import DEFAULT_SURROGATE
from .survey import Survey, survey
from .token_tensors import TokenSource, token_tensors, versions_of
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
    metrics: dict[str, Tensor]
    """0-d tensors by name, still on the device."""
    source: Any = field(repr=False)
    """What ``tokens`` come from."""

    @property
    def tokens(self) -> dict[str, Tensor]:
        """Detached [B, T]: covariance, selected, ratio, clipped, weight; NaN or False outside the mask.

        Made when first read, from the inputs of the loss: a step that logs nothing pays nothing for it.

        Raises:
            InvalidInputError: an input was changed in place since the loss was computed.
        """
        return self.source if isinstance(self.source, dict) else self.source.tensors()


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
    Values outside the mask never reach loss or gradient, NaN included. It has first derivatives, also through
    ``torch.func.grad``; a second backward raises. ``torch.compile(fullgraph=True)`` takes it as it is.

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
        validate: check values (waits for the device); None: on for CPU tensors, off elsewhere and within
            ``torch.compile``. When off, an
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
    base = covariance_on(controls)
    required = {"logprobs": logprobs, "old_logprobs": old_logprobs, "advantages": advantages, "mask": mask}
    inputs = {**required, "sample_ids": sample_ids, "seed": seed, "step": step, **used}
    streamed = acts_on_chosen(surrogate, controls)
    found = survey(inputs, surrogate, covariance_on=base, with_loss=streamed)
    if checked:
        pieces = denominator is not None or selection is not None
        check_values(found, mask, {**required, **used}, may_be_empty=pieces)
    given = next((one.means for one in selections if one is not None), None)
    means = means_of(found.moments) if given is None else given
    denominator = denominator.detach() if isinstance(denominator, torch.Tensor) else denominator
    choosing = [one for one, made in zip(controls, selections, strict=True) if _chooses(one, made)]
    limits = [one.budget.of(found.inside.numel()) for one in choosing]
    covariances = Covariances(found, means, base)
    ranked = rank(covariances, tuple(choosing), tuple(limits))
    if checked:
        for one, candidates in zip(choosing, ranked.candidates, strict=True):
            advise(one, covariances, ranked.positive, candidates)
    share = share_of_set(reduction, found, denominator)
    every = _all_chosen(controls, selections, found, ranked, share)
    rows, chosen_mask = union_of([one for one in every if one is not None], found)
    at_chosen = batch_at(found, rows, chosen_mask) if len(rows) else None
    controlled = (
        changed_at_chosen(found, surrogate, controls, every, at_chosen, rows)
        if streamed
        else changed_everywhere(found.inputs, surrogate, controls, every)
    )
    if checked:
        check_full_kl(controlled.nonfinite)
    reduced = REDUCTIONS[reduction](controlled.per_response, found, denominator)
    loss = sum(controlled.extra, start=reduced.to(found.dtype))
    centred = None if at_chosen is None else centre(at_chosen, covariances.centring, base)
    metrics = batch_metrics(found, ranked, controlled, at_chosen, centred)
    source = TokenSource(covariances, controlled, rows, chosen_mask.squeeze(1) > 0, versions_of(found))
    return PolicyLoss(loss, metrics, token_tensors(source) if torch.compiler.is_compiling() else source)


def _chooses(control: Control, selection: Selection | None) -> TypeGuard[SelectingControl]:
    """Whether the control chooses its tokens inside this batch."""
    return selection is None and chooses_tokens(control)


@torch.no_grad()
def _all_chosen(
    controls: tuple[Control, ...],
    selections: tuple[Selection | None, ...],
    found: Survey,
    ranked: Ranked,
    share: Tensor | float,
) -> tuple[Chosen | None, ...]:
    """What each control chose: inside this batch, or those tokens of its selection that lie in it."""
    keys = iter(ranked.keys)
    every: list[Chosen | None] = []
    for one, selection in zip(controls, selections, strict=True):
        if selection is not None:
            every.append(selection.within(found))
        else:
            every.append(choose(one, next(keys), found, share) if _chooses(one, None) else None)
    return tuple(every)


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
    if hasattr(used.get("full_kl"), "check_rows"):
        used["full_kl"].check_rows(logprobs.shape)
    return checked
