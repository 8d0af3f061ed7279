"""Choosing tokens over a whole update: all its micro-batches of one generation, and all ranks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...losses.advice import advise_fraction
from ...losses.collective import Selection, select_tokens
from .micro_batch import Forward, MicroBatch, micro_batch

if TYPE_CHECKING:
    from .settings import TrainerSettings
    from .settled import Settled


class Chooser:
    """Makes the selection that the micro-batches of an update share."""

    def __init__(
        self,
        trainer: Any,
        settings: TrainerSettings,
        settled: Settled,
        forward_of: Callable[[Mapping[str, Any]], Forward],
    ) -> None:
        self._trainer, self._settings, self._way = trainer, settings, settled.select_by
        self._forward_of = forward_of
        self._selection: Selection | None = None
        self._pieces_left = 0
        self._advised = False

    def prepare(self, control: Any, inputs: Mapping[str, Any], step: int, micro_step: int) -> None:
        """Before the forward pass of a micro-batch: choose, where that needs the other micro-batches."""
        if self._way in (None, "micro_batch"):
            return
        if self._pieces_left and micro_step:
            self._pieces_left -= 1
            return
        pieces = self._pieces_ahead(inputs, micro_step)
        self._pieces_left = len(pieces) - 1
        self._selection = None
        if self._way == "old" and self._settings.top_entropy_quantile >= 1.0:
            self._selection = self._select(control, [_by_old_logprobs(piece) for piece in pieces], step)
        elif len(pieces) > 1:
            found = [micro_batch(piece, self._forward_of(piece)) for piece in pieces]
            self._selection = self._select(control, found, step)

    def selection(self, control: Any, batch: MicroBatch, step: int) -> Selection | None:
        """After the forward pass: the selection; None where the control chooses inside this micro-batch."""
        alone = self._way in (None, "micro_batch") or (
            self._selection is None and self._settings.world_size == 1
        )
        if alone:
            self._advise(control, [batch])
            return None
        if self._selection is None:
            self._selection = self._select(control, [batch], step)
        return self._selection

    def _pieces_ahead(self, inputs: Mapping[str, Any], micro_step: int) -> Sequence[Mapping[str, Any]]:
        """This and the further micro-batches of the update that are generated already."""
        trainer, per_generation = self._trainer, self._settings.steps_per_generation
        buffered = getattr(trainer, "_buffered_inputs", None)
        if per_generation == 1 or buffered is None:
            return [inputs]
        start = trainer._step % per_generation
        end = min(per_generation, start + trainer.current_gradient_accumulation_steps - micro_step)
        return [inputs, *buffered[start + 1 : end]]

    def _select(self, control: Any, batches: Sequence[MicroBatch], step: int) -> Selection:
        self._advise(control, batches)
        return select_tokens(
            control,
            [batch.logprobs.detach() for batch in batches],
            [batch.old_or_current for batch in batches],
            [batch.advantages for batch in batches],
            [batch.learning for batch in batches],
            surrogate=self._settings.surrogate,
            sample_ids=[batch.sample_ids for batch in batches],
            group=_group(self._settings.world_size),
            validate=False,
            seed=self._settings.seed,
            step=step,
        )

    def _advise(self, control: Any, batches: Sequence[MicroBatch]) -> None:
        """Say once, of the first set it chooses from, where the control's fraction is less than a token."""
        if self._advised or self._way is None or self._settings.world_size > 1:
            return
        self._advised = True
        advise_fraction(control, sum(int(batch.learning.sum()) for batch in batches))


def _by_old_logprobs(inputs: Mapping[str, Any]) -> MicroBatch:
    """The micro-batch before its forward pass, with the old logprobs for the current ones."""
    old = inputs["old_per_token_logps"]
    return micro_batch(inputs, Forward(old, old))


def _group(world_size: int) -> Any:
    if world_size == 1:
        return None
    from torch import distributed

    return distributed.group.WORLD
