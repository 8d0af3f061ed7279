"""Tokens that controls have chosen: which they are, and the small batch that they make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from .backend import torch
from .batch import TokenBatch, make_batch
from .interfaces import Chosen, SelectingControl
from .selection import first_by_key, mark_rows

if TYPE_CHECKING:
    from torch import Tensor

    from .keys import Keys
    from .survey import Survey

_BY_TOKEN = ("logprobs", "old_logprobs", "ref_logprobs", "entropy")


@torch.no_grad()
def choose(control: SelectingControl, keys: Keys, found: Survey, share: Tensor | float = 1.0) -> Chosen:
    """The tokens that the control chooses in this batch, by their keys."""
    limit, count = control.budget.of(found.inside.numel()), control.budget.of_tensor(found.count)
    rows, counts = first_by_key(keys, count, limit, found.ids_to_sort_by)
    return Chosen(rows, counts.to(found.dtype).unsqueeze(1), counts.sum(), share)


@torch.no_grad()
def union_of(every: Sequence[Chosen], found: Survey) -> tuple[Tensor, Tensor]:
    """Flat rows [k] of the tokens that any control chose, each once, and their 0/1 mask [k, 1]."""
    if not every:
        return found.sample_ids[:0], found.inside.new_zeros((0, 1), dtype=found.dtype)
    rows, mask = every[0].rows, every[0].mask
    for one in every[1:]:
        fresh = 1.0 - members(rows, mask, one.rows, found.shape)
        rows, mask = torch.cat([rows, one.rows]), torch.cat([mask, one.mask * fresh])
    return rows, mask


@torch.no_grad()
def members(rows: Tensor, mask: Tensor, asked: Tensor, shape: tuple[int, ...]) -> Tensor:
    """0/1 [k, 1]: which of the ``asked`` flat rows [k] of [B, T] are among ``rows`` where ``mask`` is 1."""
    if asked is rows:
        return mask
    marked = mark_rows(rows, mask.squeeze(1) > 0, shape)
    return marked.flatten()[asked].to(mask.dtype).unsqueeze(1)


def place(rows: Tensor, length: int) -> tuple[Tensor, Tensor]:
    """Row and column [k] of flat rows."""
    return rows // length, rows % length


def batch_at(found: Survey, rows: Tensor, mask: Tensor) -> TokenBatch:
    """The tokens at flat ``rows`` [k], as responses of one token, valid where ``mask`` [k, 1] is 1."""
    inputs = found.inputs
    row, column = place(rows, found.shape[1])
    by_token = {name: inputs[name][row, column].unsqueeze(1) for name in _BY_TOKEN if name in inputs}
    advantages = inputs["advantages"]
    advantages = advantages[row] if advantages.dim() == 1 else advantages[row, column].unsqueeze(1)
    batch = make_batch(
        **by_token,
        advantages=advantages,
        mask=mask,
        full_kl=inputs.get("full_kl"),
        sample_ids=inputs["sample_ids"][row],
        seed=inputs["seed"],
        step=inputs["step"],
    )
    return replace(batch, count=found.count)
