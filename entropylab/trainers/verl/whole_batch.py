"""One choice of tokens for the whole batch, made by the driver and applied by every worker's micro-batches.

verl's losses see one micro-batch of one rank. The driver holds the whole batch before the update, with the
old logprobs and the advantages: it chooses there, and sends the ids of the chosen tokens with the batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from ...errors import MissingInputError
from ...losses.collective import select_tokens
from ...losses.policy_loss import policy_loss

if TYPE_CHECKING:
    from torch import Tensor

    from ...losses.collective import Selection
    from ...losses.policy_loss import PolicyLoss
    from .batches import VerlBatch
    from .names import LossSettings

SELECTION_KEY = "entropylab_selection"
"""Key of the selection among the batch's non-tensor data."""

SAMPLE_ID_KEY = "entropylab_sample_id"
"""Field of the batch: int64 [B], the ids that the selection refers to."""


@dataclass(frozen=True)
class Choice:
    """The whole batch's selection, and the ids of the responses of this micro-batch."""

    selection: Selection
    sample_ids: Tensor


_choice: ContextVar[Choice | None] = ContextVar("entropylab_choice", default=None)


def current_choice() -> Choice | None:
    """The choice for the micro-batch whose loss is being computed; None where there is none."""
    return _choice.get()


def actor_loss(
    config: Any, model_output: Any, data: Any, dp_group: Any = None
) -> tuple[Tensor, dict[str, Any]]:
    """verl's ``ppo_loss`` with the choice that ``data`` brings along; what our trainer gives to the workers.

    Raises:
        MissingInputError: a selection without the ids of the responses.
    """
    from verl.workers.utils.losses import ppo_loss

    with _chosen_in(data):
        return ppo_loss(config=config, model_output=model_output, data=data, dp_group=dp_group)


@contextmanager
def _chosen_in(data: Any) -> Iterator[None]:
    from verl.utils import tensordict_utils

    selection = tensordict_utils.get_non_tensor_data(data=data, key=SELECTION_KEY, default=None)
    if selection is None:
        yield
        return
    if SAMPLE_ID_KEY not in set(data.keys()):
        raise MissingInputError(
            f"the batch holds {SELECTION_KEY} but not {SAMPLE_ID_KEY}; put both or neither"
        )
    ids = data[SAMPLE_ID_KEY]
    token = _choice.set(Choice(moved(selection, ids.device), ids))
    try:
        yield
    finally:
        _choice.reset(token)


def choose_on_batch(
    settings: LossSettings, batch: VerlBatch, sample_ids: Tensor, *, step: int
) -> tuple[Selection, PolicyLoss]:
    """The tokens that the control chooses on a whole batch by its old logprobs, and the loss to record.

    The loss is that of the policy before the update: all ratios are 1, so no token is clipped yet.
    """
    chosen = settings.on_old_logprobs()
    old = (batch.logprobs, batch.logprobs, batch.advantages, batch.mask)
    more: dict[str, Any] = {"surrogate": chosen.surrogate, "sample_ids": sample_ids, "step": step}
    selection = select_tokens(chosen.control, *old, **more)
    return selection, policy_loss(*old, control=chosen.control, selection=selection, **more)


def moved(selection: Selection, device: Any) -> Selection:
    """The selection on another device."""
    tensors = {f.name: getattr(selection, f.name) for f in fields(selection)}
    return replace(selection, **{k: v.to(device) for k, v in tensors.items() if hasattr(v, "to")})
