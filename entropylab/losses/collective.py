"""Choosing tokens once on a whole batch, and applying that choice to its micro-batches.

A choice made inside a micro-batch depends on how the batch was split: means, ranks and counts are then those
of the piece. A ``Selection`` holds the chosen tokens by (sample_id, position), so any split gives the same
tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError, MissingInputError
from .advice import advise
from .backend import torch
from .batch import TokenBatch, make_batch
from .covariance import Means, centre
from .interfaces import Control, SelectingControl, Surrogate
from .masking import count_of
from .selection import chosen_rows
from .surrogates import DEFAULT_SURROGATE
from .validation import check_tensors, check_values, resolve_validate

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Selection:
    """The tokens that a control chose on a token set, by global id, and the statistics of that set."""

    control: SelectingControl
    sample_ids: Tensor
    """int64 [limit], sorted by (sample_id, position); entries from ``count`` on are fillers."""
    positions: Tensor
    """int64 [limit], in the order of ``sample_ids``."""
    count: Tensor
    """0-d int64: how many were chosen."""
    mean_logprob: Tensor
    """0-d fp64, over the valid tokens of the set."""
    mean_advantage: Tensor
    """0-d fp64, over the valid tokens of the set."""
    threshold: Tensor
    """0-d: the smallest covariance among the chosen; inf where none was chosen."""
    numbered_rows: int | None = None
    """Rows of the set where they were numbered because no sample ids were given."""

    @property
    def limit(self) -> int:
        """Static bound of ``count``."""
        return len(self.sample_ids)

    @property
    def means(self) -> Means:
        """The means that the covariances are centred at."""
        return Means(self.mean_logprob, self.mean_advantage)

    def mask(self, sample_ids: Tensor, length: int) -> Tensor:
        """The chosen tokens of responses ``sample_ids`` [B] at positions below ``length``, bool [B, T]."""
        rows = len(sample_ids)
        marks = torch.zeros(rows * length + 1, dtype=torch.bool, device=sample_ids.device)
        if self.limit and rows:
            ordered, order = sample_ids.sort()
            place = torch.searchsorted(ordered, self.sample_ids).clamp(max=rows - 1)
            here = (ordered[place] == self.sample_ids) & (self.positions < length)
            here &= torch.arange(self.limit, device=here.device) < self.count
            marks[torch.where(here, order[place] * length + self.positions, rows * length)] = True
        return marks[:-1].view(rows, length)


@torch.no_grad()
def select_tokens(
    control: SelectingControl,
    logprobs: Tensor | Sequence[Tensor],
    old_logprobs: Tensor | Sequence[Tensor],
    advantages: Tensor | Sequence[Tensor],
    mask: Tensor | Sequence[Tensor],
    *,
    surrogate: Surrogate = DEFAULT_SURROGATE,
    sample_ids: Tensor | Sequence[Tensor] | None = None,
    validate: bool | None = None,
    seed: int = 0,
    step: int = 0,
) -> Selection:
    """Let ``control`` choose its tokens on a whole batch; give the result to ``policy_loss(selection=...)``.

    Args:
        control: ``ClipCov``, ``KLCov`` or another control that chooses tokens.
        logprobs: [B, T], or a list of micro-batches (then all tensors are lists); lengths T may differ.
        old_logprobs: like ``logprobs``.
        advantages: like ``logprobs``, or [B] each.
        mask: bool or 0/1, like ``logprobs``.
        surrogate: the one of the loss: tokens that it clips are not eligible for a random draw.
        sample_ids: int64 [B], global ids of the responses; None numbers the rows.
        validate: check values (waits for the device); None: on for CPU tensors, off elsewhere.
        seed: seed of random choices.
        step: training step, so that choices differ between steps.

    Raises:
        InvalidInputError: a control that chooses no tokens, or inputs as in ``policy_loss``.
    """
    if isinstance(control, type) or not isinstance(control, SelectingControl):
        raise InvalidInputError(f"control={control!r} chooses no tokens; give for example ClipCov or KLCov")
    names = ("logprobs", "old_logprobs", "advantages", "mask", "sample_ids")
    given = dict(zip(names, (logprobs, old_logprobs, advantages, mask, sample_ids), strict=True))
    tensors = _joined({name: value for name, value in given.items() if value is not None})
    batch = _batch_of(tensors, seed, step)
    checked = resolve_validate(validate, tensors["logprobs"])
    if checked:
        check_values(batch, tensors["mask"], tensors, may_be_empty=False)
    centred = centre(batch, control.covariance_on)
    if checked:
        advise(control, batch, centred)
    limit = control.budget.of(batch.inside.numel())
    chosen = control.choose(batch, centred, surrogate.terms(batch).unclipped, limit)
    lowest = torch.where(chosen.bool(), centred.covariance, torch.inf)
    return Selection(
        control,
        *_identities(batch, chosen, limit),
        count=count_of(chosen),
        mean_logprob=centred.means.logprob,
        mean_advantage=centred.means.advantage,
        threshold=lowest.min() if lowest.numel() else lowest.new_tensor(torch.inf),
        numbered_rows=len(batch.inside) if sample_ids is None else None,
    )


def align_selections(
    selection: Any, controls: tuple[Control, ...], sample_ids: Tensor | None, n_rows: int
) -> tuple[Selection | None, ...]:
    """One selection or None for each control.

    Raises:
        InvalidInputError: a selection made by another control, or a list that does not fit the controls.
        MissingInputError: no ``sample_ids`` to find the chosen tokens by.
    """
    if selection is None:
        return (None,) * len(controls)
    aligned = _spread(selection, controls)
    for one, chosen in zip(controls, aligned, strict=True):
        _check_pair(one, chosen)
        if chosen is not None and sample_ids is None and chosen.numbered_rows != n_rows:
            raise MissingInputError(
                "selection= needs sample_ids=, the ids that select_tokens was given for these responses"
            )
    return aligned


def _spread(selection: Any, controls: tuple[Control, ...]) -> tuple[Any, ...]:
    if not isinstance(selection, Selection):
        if not isinstance(selection, Sequence) or len(selection) != len(controls):
            raise InvalidInputError(
                f"selection must be a Selection or a list of {len(controls)}, one a control"
            )
        return tuple(selection)
    if sum(isinstance(one, SelectingControl) for one in controls) != 1:
        raise InvalidInputError(
            "selection is one Selection, but not exactly one control chooses tokens; give a list"
        )
    return tuple(selection if isinstance(one, SelectingControl) else None for one in controls)


def _check_pair(control: Control, selection: Any) -> None:
    name = type(control).__name__
    if not isinstance(control, SelectingControl):
        if selection is not None:
            raise InvalidInputError(
                f"selection is given for {name}, which chooses no tokens; give None there"
            )
    elif not isinstance(selection, Selection):
        raise InvalidInputError(f"selection for {name} is {selection!r}; make one with select_tokens")
    elif selection.control != control:
        raise InvalidInputError(f"selection was made by {selection.control!r}, not by {control!r}")


def _batch_of(tensors: dict[str, Tensor], seed: int, step: int) -> TokenBatch:
    required = (tensors[name] for name in ("logprobs", "old_logprobs", "advantages", "mask"))
    return make_batch(*required, sample_ids=tensors.get("sample_ids"), seed=seed, step=step)


def _identities(batch: TokenBatch, chosen: Tensor, limit: int) -> tuple[Tensor, Tensor]:
    """(sample_id, position) of the chosen tokens, [limit] each, sorted; fillers at the end."""
    length = chosen.shape[1]
    ids = batch.row_ids()
    if limit == 0:
        return ids[:0], ids[:0]
    ids, order = ids.sort()
    flat, _ = chosen_rows(chosen[order], limit)
    return ids[flat // length], flat % length


def _joined(given: dict[str, Any]) -> dict[str, Tensor]:
    """One padded tensor for each name, from tensors or from lists of micro-batches."""
    if isinstance(given["logprobs"], torch.Tensor):
        check_tensors(**given)
        return given
    lengths = {name: len(value) for name, value in given.items() if isinstance(value, Sequence)}
    if len(lengths) < len(given) or len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InvalidInputError(
            f"give lists of equally many micro-batches for {', '.join(given)}; got {lengths}"
        )
    for pieces in zip(*given.values(), strict=True):
        check_tensors(**dict(zip(given, pieces, strict=True)))
    longest = max(piece.shape[1] for piece in given["logprobs"])
    return {name: torch.cat([_padded(piece, longest) for piece in _alike(name, given)]) for name in given}


def _alike(name: str, given: dict[str, Any]) -> list[Tensor]:
    """The pieces of one name; advantages all [B, T] where some are."""
    pieces = list(given[name])
    if name == "advantages" and len({piece.dim() for piece in pieces}) > 1:
        pairs = zip(pieces, given["logprobs"], strict=True)
        return [a if a.dim() == 2 else a.unsqueeze(1).expand(l.shape) for a, l in pairs]
    return pieces


def _padded(piece: Tensor, length: int) -> Tensor:
    if piece.dim() == 1:
        return piece
    return torch.nn.functional.pad(piece, (0, length - piece.shape[1]))
