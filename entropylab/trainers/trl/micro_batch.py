"""One micro-batch as the trainer's loss sees it, and its way to the recorder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...errors import InvalidInputError

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

REWARDS, SAMPLE_IDS, PROMPT_IDS = "entropylab_rewards", "entropylab_sample_ids", "entropylab_prompt_ids"
"""Keys under which a generation batch carries [B, functions], [B] and [B] through the trainer's shuffle."""


@dataclass
class Forward:
    """What the trainer's own forward pass gave; the entropies may carry a gradient."""

    logprobs: Tensor
    entropy: Tensor
    entropy_mask: Tensor | None = None
    """Bool [B, T]: the tokens that learn, where the trainer keeps to those of high entropy."""


@dataclass(frozen=True)
class MicroBatch:
    """The tensors of one micro-batch; [B, T] unless said otherwise."""

    logprobs: Tensor
    """With gradient, where there is one."""
    entropy: Tensor
    """Without gradient."""
    old_logprobs: Tensor | None
    ref_logprobs: Tensor | None
    advantages: Tensor
    """[B] or [B, T], as the trainer made them."""
    mask: Tensor
    """Bool: tokens of the completion that the policy wrote."""
    learning: Tensor
    """Bool: those of ``mask`` whose policy gradient the trainer keeps."""
    token_ids: Tensor
    sample_ids: Tensor
    """int64 [B]."""
    prompt_ids: Tensor
    """int64 [B]."""
    rewards: Tensor
    """[B, functions]."""

    @property
    def old_or_current(self) -> Tensor:
        """Old logprobs; on-policy the current ones, as the trainer's loss takes them."""
        return self.logprobs.detach() if self.old_logprobs is None else self.old_logprobs


def micro_batch(inputs: Mapping[str, Any], forward: Forward) -> MicroBatch:
    """The micro-batch of a trainer's loss inputs and its forward pass."""
    mask = inputs["completion_mask"]
    if inputs.get("tool_mask") is not None:
        mask = mask * inputs["tool_mask"]
    mask = mask.bool()
    return MicroBatch(
        logprobs=forward.logprobs,
        entropy=forward.entropy.detach(),
        old_logprobs=inputs.get("old_per_token_logps"),
        ref_logprobs=inputs.get("ref_per_token_logps"),
        advantages=inputs["advantages"],
        mask=mask,
        learning=mask if forward.entropy_mask is None else mask & forward.entropy_mask.bool(),
        token_ids=inputs["completion_ids"],
        sample_ids=inputs[SAMPLE_IDS],
        prompt_ids=inputs[PROMPT_IDS],
        rewards=inputs[REWARDS],
    )


def as_forward(found: Any) -> Forward:
    """The result of `_get_per_token_logps_and_entropies`, a tuple of two or three by version."""
    logprobs, entropy = found[0], found[1]
    if logprobs is None or entropy is None:
        raise InvalidInputError(
            "attach: the trainer's forward pass gave no logprobs or no entropies of the tokens; a patch of "
            "TRL (Unsloth, Liger) computes the loss without them, train without it"
        )
    return Forward(logprobs, entropy)


def to_host(tensors: Mapping[str, Tensor | None]) -> dict[str, np.ndarray]:
    """Tensors [B, T] as NumPy arrays: the float ones as float32 in one copy from the device."""
    given = {name: tensor.detach() for name, tensor in tensors.items() if tensor is not None}
    floats = {name: tensor for name, tensor in given.items() if tensor.is_floating_point()}
    packed = torch.stack([tensor.float() for tensor in floats.values()]).cpu().numpy()
    host = dict(zip(floats, packed, strict=True))
    return host | {name: tensor.cpu().numpy() for name, tensor in given.items() if name not in floats}
