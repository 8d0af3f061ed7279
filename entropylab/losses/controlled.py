"""The loss under its controls: changed at the chosen tokens alone, or on the whole batch.

Where the surrogate looks at each token alone and every control acts on chosen tokens, the loss of all tokens
is known from the first pass, and only that of the few chosen ones is computed again. Otherwise the controls
run on the whole batch, in order.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from .backend import torch
from .batch import TokenBatch, make_batch
from .choosing import members, place
from .interfaces import Chosen, Control, Surrogate, Terms, chooses_tokens
from .masking import gate_rows
from .totals import Totals, add_totals, totals_of

if TYPE_CHECKING:
    from torch import Tensor

    from .survey import Survey


@dataclass(frozen=True)
class Controlled:
    """The loss of each response, and what goes with it."""

    per_response: Tensor
    """fp64 [B], with gradient."""
    totals: Totals
    terms: Terms | None = None
    """Those of the whole batch, where the controls ran on it; else None."""
    weight_change: Tensor | None = None
    """[k, 1]: added by the controls to the factor on the policy gradient at the chosen tokens."""
    extra: tuple[Tensor, ...] = ()
    """0-d terms with gradient, added after the reduction."""
    nonfinite: tuple[Tensor, ...] = ()
    """0-d counts of non-finite values that a control met and left out."""
    reports: Mapping[str, Tensor] = field(default_factory=dict)
    """0-d numbers by name."""


def acts_on_chosen(surrogate: Surrogate, controls: Sequence[Control]) -> bool:
    """Whether the loss changes at the chosen tokens alone."""
    return surrogate.scope == "token" and all(chooses_tokens(one) for one in controls)


def changed_at_chosen(
    found: Survey,
    surrogate: Surrogate,
    controls: Sequence[Control],
    every: Sequence[Chosen | None],
    tokens: TokenBatch | None,
    rows: Tensor,
) -> Controlled:
    """The loss with the controls applied at the chosen ``tokens`` [k, 1] of flat ``rows`` [k]; None: none."""
    assert found.losses is not None
    losses, source = found.losses, found.inputs["logprobs"]
    if tokens is None:
        return Controlled(gate_rows(source, losses.per_response, losses.slope), losses.totals)
    with torch.no_grad():
        before = terms = surrogate.terms(tokens)
    for one, chosen in zip(controls, every, strict=True):
        assert chosen is not None
        mask = members(chosen.rows, chosen.mask, rows, found.shape)
        terms = one.apply(tokens, terms, replace(chosen, rows=rows, mask=mask))
    response = rows // found.shape[1]
    _add(losses.per_response, response, (terms.value - before.value).double(), tokens.inside)
    _add(losses.slope.view(-1), rows, terms.slope - before.slope, tokens.inside)
    per_response = gate_rows(source, losses.per_response, losses.slope)
    for term in terms.per_token:
        per_response = per_response.index_add(0, response, (term * tokens.inside).squeeze(1).double())
    weight_change = (terms.weight - before.weight) * tokens.inside
    rest = (terms.extra, terms.nonfinite, terms.reports)
    return Controlled(per_response, losses.totals, None, weight_change, *rest)


def changed_everywhere(
    inputs: Mapping[str, Any],
    surrogate: Surrogate,
    controls: Sequence[Control],
    every: Sequence[Chosen | None],
) -> Controlled:
    """The loss with the controls applied to the whole batch of ``inputs``, by the names of ``make_batch``."""
    batch = make_batch(**inputs)
    with torch.no_grad():
        terms = surrogate.terms(batch)
    for one, chosen in zip(controls, every, strict=True):
        terms = one.apply(batch, terms, None) if chosen is None else _apply_at(one, batch, terms, chosen)
    per_response = gate_rows(batch.source, terms.value.sum(1, dtype=torch.float64), terms.slope)
    for term in terms.per_token:
        per_response = per_response + term.sum(1, dtype=torch.float64)
    rest = (terms.extra, terms.nonfinite, terms.reports)
    return Controlled(per_response, add_totals([totals_of(batch, terms.unclipped)]), terms, None, *rest)


@torch.no_grad()
def _add(whole: Tensor, at: Tensor, change: Tensor, mask: Tensor) -> None:
    """Add ``change`` [k, 1], where ``mask`` is 1, to ``whole`` at [k]; overwrites both."""
    whole.index_add_(0, at, change.mul_(mask).squeeze(1))


def _apply_at(control: Control, batch: TokenBatch, terms: Terms, chosen: Chosen) -> Terms:
    """The terms of the whole batch, changed by the control at the chosen tokens."""
    if len(chosen.rows) == 0:
        return terms
    at = place(chosen.rows, batch.shape[1])
    before = replace(
        terms,
        value=terms.value[at].unsqueeze(1),
        slope=terms.slope[at].unsqueeze(1),
        weight=terms.weight[at].unsqueeze(1),
        unclipped=None if terms.unclipped is None else terms.unclipped[at].unsqueeze(1),
        per_token=tuple(term[at].unsqueeze(1) for term in terms.per_token),
    )
    after = control.apply(batch.at(chosen.rows, chosen.mask), before, chosen)

    def spread(new: Tensor, old: Tensor | None, whole: Tensor) -> Tensor:
        change = new if old is None else new - old
        added = (change * chosen.mask).squeeze(1)
        return whole.flatten().index_add(0, chosen.rows, added).view(whole.shape)

    kept = [spread(*three) for three in zip(after.per_token, before.per_token, terms.per_token, strict=False)]
    new = after.per_token[len(kept) :]
    added = [spread(term, None, torch.zeros_like(terms.value)) for term in new]
    return replace(
        after,
        value=spread(after.value, before.value, terms.value),
        slope=spread(after.slope, before.slope, terms.slope),
        weight=spread(after.weight, before.weight, terms.weight),
        unclipped=terms.unclipped,
        per_token=(*kept, *added),
    )
