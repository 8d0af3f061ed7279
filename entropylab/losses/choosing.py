"""Controls that act on chosen tokens: finding the tokens, and changing the loss there alone."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from .backend import torch
from .interfaces import Chosen, SelectingControl, Terms
from .selection import first_by_key, mark_rows

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import TokenBatch


@torch.no_grad()
def choose(control: SelectingControl, key: Tensor, batch: TokenBatch, share: Tensor | float = 1.0) -> Chosen:
    """The tokens that the control chooses in this batch, by their keys [B, T]."""
    limit = control.budget.of(key.numel())
    rows, counts = first_by_key(key, control.budget.of_tensor(batch.count), limit, batch.sample_ids)
    return Chosen(rows, counts.to(key.dtype).unsqueeze(1), counts.sum(), share)


def apply_to_chosen(control: SelectingControl, batch: TokenBatch, terms: Terms, chosen: Chosen) -> Terms:
    """The loss changed by the control at the chosen tokens; overwrites value, slope and weight of ``terms``."""
    if len(chosen.rows) == 0:
        return terms
    before = replace(
        terms,
        value=_at(terms.value, chosen),
        slope=_at(terms.slope, chosen),
        weight=_at(terms.weight, chosen),
        unclipped=None if terms.unclipped is None else _at(terms.unclipped, chosen),
        per_token=tuple(_at(term, chosen) for term in terms.per_token),
    )
    after = control.apply(batch.at(chosen.rows, chosen.mask), before, chosen)
    for name in ("value", "slope", "weight"):
        _add(getattr(terms, name), getattr(after, name), getattr(before, name), chosen)
    n_before = len(before.per_token)
    changed = [
        term if new is old else _sum(term, new - old, chosen)
        for term, new, old in zip(terms.per_token, after.per_token, before.per_token, strict=False)
    ]
    added = [_sum(torch.zeros_like(terms.value), new, chosen) for new in after.per_token[n_before:]]
    return replace(
        after,
        value=terms.value,
        slope=terms.slope,
        weight=terms.weight,
        unclipped=terms.unclipped,
        per_token=(*changed, *added),
    )


@torch.no_grad()
def union_of(found: tuple[Chosen | None, ...], batch: TokenBatch) -> tuple[Tensor, Tensor]:
    """Flat rows [k] of the tokens that any control chose, each once, and their 0/1 mask [k, 1]."""
    chosen = [one for one in found if one is not None]
    if not chosen:
        rows = torch.zeros(0, dtype=torch.int64, device=batch.inside.device)
        return rows, batch.inside.new_zeros(0, 1)
    rows, mask = chosen[0].rows, chosen[0].mask
    for one in chosen[1:]:
        taken = mark_rows(rows, mask.squeeze(1).bool(), batch.shape)
        fresh = (~taken)[_place(taken, one.rows)].to(mask.dtype).unsqueeze(1)
        rows, mask = torch.cat([rows, one.rows]), torch.cat([mask, one.mask * fresh])
    return rows, mask


def _at(values: Tensor, chosen: Chosen) -> Tensor:
    """[k, 1]: those of the chosen tokens."""
    return values[_place(values, chosen.rows)].unsqueeze(1)


def _place(values: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Row and column [k] of flat rows."""
    return rows // values.shape[1], rows % values.shape[1]


@torch.no_grad()
def _add(whole: Tensor, new: Tensor, old: Tensor, chosen: Chosen) -> None:
    if new is not old:
        change = (new - old).mul_(chosen.mask).squeeze(1)
        whole.index_put_(_place(whole, chosen.rows), change, accumulate=True)


def _sum(whole: Tensor, part: Tensor, chosen: Chosen) -> Tensor:
    """``whole`` [B, T] plus ``part`` [k, 1] at the chosen tokens, with gradient."""
    flat = (part * chosen.mask).squeeze(1)
    return whole.flatten().index_add(0, chosen.rows, flat).view(whole.shape)
