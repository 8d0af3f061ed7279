"""Choosing tokens once on a whole batch, and applying that choice to its micro-batches.

A choice made inside a micro-batch depends on how the batch was split: means, ranks and counts are then those
of the piece. A ``Selection`` holds the chosen tokens by (sample_id, position), so any split over
micro-batches and ranks gives the same tokens, to the bit: the means come from exact sums, the order has no
ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError, MissingInputError
from .advice import advise
from .backend import torch
from .candidates import Candidates, first_of, local_candidates, unpacked
from .choosing import place
from .covariance import Means, means_of
from .interfaces import Chosen, Control, SelectingControl, Surrogate, chooses_tokens
from .micro_batches import joined
from .ranking import Covariances, Ranked, rank
from .ranks import Whole, gather, meet
from .selection import mark_rows
from .surrogates import DEFAULT_SURROGATE
from .survey import Survey, survey
from .validation import check_values, resolve_validate

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
        return mark_rows(*self._find(sample_ids, length), (len(sample_ids), length))

    def within(self, found: Survey) -> Chosen:
        """Those of the chosen tokens that are among the valid ones of a token set."""
        rows, here = self._find(found.sample_ids, found.shape[1])
        if len(rows):
            here = here & found.inside[place(rows, found.shape[1])]
        return Chosen(rows, here.to(found.dtype).unsqueeze(1), self.count)

    def _find(self, sample_ids: Tensor, length: int) -> tuple[Tensor, Tensor]:
        """Flat rows [limit] of the chosen tokens, and which of them are there."""
        n_rows = len(sample_ids)
        if not n_rows * length:
            return self.positions[:0], self.positions[:0] > 0
        ordered, order = sample_ids.sort()
        place = torch.searchsorted(ordered, self.sample_ids.contiguous()).clamp(max=n_rows - 1)
        here = (ordered[place] == self.sample_ids) & (self.positions < length)
        here &= torch.arange(self.limit, device=here.device) < self.count
        return torch.where(here, order[place] * length + self.positions, 0), here


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
    group: Any = None,
    validate: bool | None = None,
    seed: int = 0,
    step: int = 0,
) -> Selection:
    """Let ``control`` choose its tokens on a whole batch; give the result to ``policy_loss(selection=...)``.

    With ``group``, the batch is that of all its ranks, and every rank gets the same selection: the same
    tokens as one process with all responses, whatever the layout. Two collectives: 104 bytes a rank (sizes
    and exact sums), then min(k, tokens of the largest rank) candidates of 32 bytes from each rank to each;
    and a third, 8 bytes a response, where the ranges of the ranks' ids overlap. They take only tensors of the
    inputs' device, so any backend goes. It waits for the device once, for the sizes (twice where the ranges
    overlap); without ``group`` never. ``covariance_on="old"`` needs no forward pass: give the old logprobs
    for both.

    Args:
        control: ``ClipCov``, ``KLCov`` or another control that chooses tokens.
        logprobs: [B, T], or a list of micro-batches (then all tensors are lists); lengths T may differ.
        old_logprobs: like ``logprobs``.
        advantages: like ``logprobs``, or [B] each.
        mask: bool or 0/1, like ``logprobs``.
        surrogate: the one of the loss: tokens that it clips are not eligible for a random draw.
        sample_ids: int64 [B], global ids of the responses; None numbers the rows. Needed with ``group``.
        group: a ``torch.distributed`` group; every rank of it must call. A rank may have no valid token, or
            no response at all: tensors [0, T].
        validate: check values (waits for the device); None: on for CPU tensors, off elsewhere. Where one
            rank of a group finds a fault, all raise.
        seed: seed of random choices.
        step: training step, so that choices differ between steps.

    Raises:
        InvalidInputError: a control that chooses no tokens, inputs as in ``policy_loss``, or ranks that
            differ in their settings or share a sample id.
        MissingInputError: ``group`` without ``sample_ids``.
    """
    if not chooses_tokens(control):
        raise InvalidInputError(f"control={control!r} chooses no tokens; give for example ClipCov or KLCov")
    names = ("logprobs", "old_logprobs", "advantages", "mask", "sample_ids")
    given = dict(zip(names, (logprobs, old_logprobs, advantages, mask, sample_ids), strict=True))
    tensors = joined({name: value for name, value in given.items() if value is not None})
    if group is not None and sample_ids is None:
        raise MissingInputError("select_tokens(group=...) needs sample_ids=, ids that no other rank has")
    checked = resolve_validate(validate, tensors["logprobs"])
    inputs = {**tensors, "seed": seed, "step": step}
    found = survey(inputs, surrogate, covariance_on=control.covariance_on, with_loss=False)
    failure = _failure(found, tensors, may_be_empty=group is not None) if checked else None
    settings = (control, surrogate, seed, step, found.dtype)
    whole = meet(group, found.moments, found.sample_ids, found.inside.numel(), settings, failure)
    if failure is not None:
        raise failure
    chosen = _chosen(control, found, whole, group, checked)
    count, means = (chosen.keys > -torch.inf).sum(), means_of(whole.moments)
    lowest = torch.where(chosen.keys > -torch.inf, chosen.covariance, torch.inf)
    return Selection(
        control,
        chosen.sample_ids,
        chosen.positions,
        count=count,
        mean_logprob=means.logprob,
        mean_advantage=means.advantage,
        threshold=lowest.min() if len(lowest) else lowest.new_tensor(torch.inf),
        numbered_rows=len(tensors["logprobs"]) if sample_ids is None else None,
    )


def _chosen(control: SelectingControl, found: Survey, whole: Whole, group: Any, checked: bool) -> Candidates:
    """The chosen tokens of all ranks, in the order (sample_id, position), fillers last."""
    limit, count = control.budget.of(whole.n_padded), control.budget.of_tensor(whole.moments[0])
    own_limit = min(limit, found.inside.numel())
    covariances = Covariances(found, means_of(whole.moments), control.covariance_on)
    ranked = rank(covariances, (control,), (own_limit,))
    if checked:
        _check_whole(control, covariances, ranked, whole, group)
    own = local_candidates(ranked.keys[0], covariances, count, own_limit)
    if group is None:
        return own
    every = gather(group, own.packed(min(limit, whole.widest)))
    return first_of(unpacked(every.flatten(0, 1)), count, limit)


def _failure(found: Survey, tensors: dict[str, Tensor], *, may_be_empty: bool) -> Exception | None:
    """The error of a value check, kept until the other ranks know of it."""
    try:
        check_values(found, tensors["mask"], tensors, may_be_empty=may_be_empty)
    except InvalidInputError as error:
        return error
    return None


def _check_whole(
    control: SelectingControl, covariances: Covariances, ranked: Ranked, whole: Whole, group: Any
) -> None:
    if group is None:
        advise(control, covariances, ranked.positive, ranked.candidates[0])
    elif not bool(whole.moments[0] > 0):
        raise InvalidInputError("mask is empty on every rank of the group: no token to choose from")


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
    if sum(chooses_tokens(one) for one in controls) != 1:
        raise InvalidInputError(
            "selection is one Selection, but not exactly one control chooses tokens; give a list"
        )
    return tuple(selection if chooses_tokens(one) else None for one in controls)


def _check_pair(control: Control, selection: Any) -> None:
    name = type(control).__name__
    if not chooses_tokens(control):
        if selection is not None:
            raise InvalidInputError(
                f"selection is given for {name}, which chooses no tokens; give None there"
            )
    elif not isinstance(selection, Selection):
        raise InvalidInputError(f"selection for {name} is {selection!r}; make one with select_tokens")
    elif selection.control != control:
        raise InvalidInputError(f"selection was made by {selection.control!r}, not by {control!r}")
