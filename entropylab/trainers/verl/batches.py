"""From a batch of verl to `Recorder.record`: a plain function of a DataProto or a TensorDict."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InvalidInputError, MissingInputError

if TYPE_CHECKING:
    from torch import Tensor

    from ...record.recorder import Recorder

FIELDS = (
    *("uid", "prompts", "responses", "response_mask", "old_log_probs", "advantages"),
    *("entropy", "ref_log_prob", "rm_scores"),
)
"""What is read of a batch in the transfer queue; the last three where they are there."""

_NAMES = {
    "mask": ("response_mask",),
    "logprobs": ("old_log_probs",),
    "advantages": ("advantages",),
    "token_ids": ("responses",),
    "entropy": ("entropy", "entropys"),
    "ref_logprobs": ("ref_log_prob",),
    "token_rewards": ("rm_scores", "token_level_scores", "token_level_rewards"),
}
"""Our name -> verl's, the first that the batch holds."""

_REQUIRED = ("mask", "logprobs", "advantages")
_ROWS_OF_A_STEP = 2**32
_ROWS_OF_AN_UPDATE = 2**24


@dataclass(frozen=True)
class VerlBatch:
    """A batch in our names, before its update: [B, T], padded on the right; None where verl gave none."""

    mask: Tensor
    """0/1: tokens of the policy; 0 for padding, tool output and rejected tokens."""
    logprobs: Tensor
    """Of the policy that is about to be updated (``old_log_probs``), nats."""
    advantages: Tensor
    token_ids: Tensor | None
    entropy: Tensor | None
    """Of the same policy, nats."""
    ref_logprobs: Tensor | None
    rewards: Tensor | None
    """[B]: the sum of the token rewards of each response."""
    prompt_ids: np.ndarray | None
    """int64 [B]: one id for each ``uid``, equal where the uids are."""

    def sample_ids(self, step: int, update: int = 0) -> Tensor:
        """int64 [B]: ids that no response of another step or update has."""
        import torch

        first = step * _ROWS_OF_A_STEP + update * _ROWS_OF_AN_UPDATE
        return torch.arange(len(self.mask)) + first


def read_batch(batch: Any) -> VerlBatch:
    """The tensors of a ``DataProto`` or ``TensorDict``, padded or nested (jagged), on the CPU.

    ``uid`` may be a non-tensor array of the DataProto or a field of the TensorDict.

    Raises:
        MissingInputError: no ``response_mask``, ``old_log_probs`` or ``advantages``.
        InvalidInputError: something that is neither, or tensors whose shapes differ.
    """
    tensors, others = _parts(batch)
    found = {ours: _first(tensors, names) for ours, names in _NAMES.items()}
    given = {ours: value for ours, value in found.items() if value is not None}
    missing = [_NAMES[name][0] for name in _REQUIRED if name not in given]
    if missing:
        raise MissingInputError(
            f"the batch has no {', '.join(missing)}; it holds {sorted(map(str, tensors.keys()))}. Record it "
            "after the advantages are computed"
        )
    shape = given["mask"].shape
    for name, value in given.items():
        if value.shape != shape:
            raise InvalidInputError(
                f"{_NAMES[name][0]} has shape {list(value.shape)} but response_mask {list(shape)}"
            )
    rewards = given.get("token_rewards")
    return VerlBatch(
        mask=given["mask"],
        logprobs=given["logprobs"],
        advantages=given["advantages"],
        token_ids=given.get("token_ids"),
        entropy=given.get("entropy"),
        ref_logprobs=given.get("ref_logprobs"),
        rewards=None if rewards is None else rewards.double().sum(dim=1),
        prompt_ids=_prompt_ids(others.get("uid", tensors.get("uid", None))),
    )


def record_batch(
    recorder: Recorder,
    step: int,
    batch: Any,
    *,
    out: Any = None,
    update: int = 0,
    texts: list[str] | None = None,
    metrics: Mapping[str, Any] | None = None,
) -> None:
    """Record the batch of one update of verl, as it was before the update.

    The logprobs are those of the policy that is updated, so all ratios are 1; the entropy is of the same
    states. ``batch``: as in ``read_batch``, or its result. ``out``: a ``policy_loss`` of the same tensors,
    where tokens were chosen; None where one only observes. ``metrics``: scalars of the update.
    """
    read = batch if isinstance(batch, VerlBatch) else read_batch(batch)
    recorder.record(
        step,
        out,
        logprobs=read.logprobs,
        old_logprobs=read.logprobs,
        ref_logprobs=read.ref_logprobs,
        advantages=read.advantages,
        mask=read.mask,
        entropy=read.entropy,
        rewards=read.rewards,
        prompt_ids=read.prompt_ids,
        sample_ids=read.sample_ids(step, update),
        token_ids=read.token_ids,
        texts=texts,
        update=update,
        metrics=metrics,
    )


def _parts(batch: Any) -> tuple[Any, Mapping[str, Any]]:
    """Tensors by name and the non-tensor arrays of a batch."""
    if hasattr(batch, "non_tensor_batch") and batch.batch is not None:
        return batch.batch, batch.non_tensor_batch
    if hasattr(batch, "batch_size") and hasattr(batch, "keys"):
        return batch, {}
    raise InvalidInputError(f"expected a DataProto or TensorDict of verl, got {type(batch).__name__}")


def _first(tensors: Any, names: tuple[str, ...]) -> Tensor | None:
    held = set(tensors.keys())
    name = next((name for name in names if name in held), None)
    if name is None:
        return None
    value = tensors[name].detach()
    value = value.to_padded_tensor(0) if value.is_nested else value
    return value.cpu()


def _prompt_ids(uids: Any) -> np.ndarray | None:
    """int64 ids of uids: 63 bits of BLAKE2b, so equal over steps, ranks and restarts where the uids are."""
    if uids is None:
        return None
    names = uids.tolist() if hasattr(uids, "tolist") else list(uids)
    digests = (hashlib.blake2b(str(name).encode(), digest_size=8).digest() for name in names)
    return np.array([int.from_bytes(d, "big") >> 1 for d in digests], dtype=np.int64)
