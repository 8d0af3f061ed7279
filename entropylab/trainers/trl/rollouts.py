"""Rewards and ids of the responses, pinned to a generation batch before the trainer shuffles it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from .micro_batch import PROMPT_IDS, REWARDS, SAMPLE_IDS

if TYPE_CHECKING:
    from torch import Tensor


_STEP_BITS = 32
"""A sample id is the step of the generation, then 32 bits for the number of the response within it."""


class Rollouts:
    """Follows the generations of a trainer."""

    def __init__(self, trainer: Any, on_evaluation: Callable[[Tensor], None]) -> None:
        self._trainer = trainer
        self._on_evaluation = on_evaluation
        self._rewards: Tensor | None = None
        self._step, self._responses_of_step = -1, 0

    def note_rewards(self, rewards: Tensor) -> None:
        """Keep the rewards [responses of all ranks, functions]."""
        self._rewards = rewards
        if not self._trainer.model.training:
            self._on_evaluation(rewards)

    def pinned(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The generation batch with rewards, sample ids and prompt ids of this rank's responses."""
        rewards, self._rewards = self._rewards, None
        n_rows = len(batch["completion_ids"])
        if rewards is None:
            rewards = torch.full((n_rows * self._trainer.accelerator.num_processes, 1), torch.nan)
        first = self._trainer.accelerator.process_index * n_rows
        device = batch["completion_ids"].device
        own = torch.arange(first, first + n_rows, device=device)
        batch[REWARDS] = rewards[first : first + n_rows].to(device)
        batch[SAMPLE_IDS] = own + self._first_id(len(rewards))
        batch[PROMPT_IDS] = prompt_ids(batch["prompt_ids"], batch["prompt_mask"])
        return batch

    def _first_id(self, n_responses: int) -> int:
        """Unique over steps; the same on every rank, and after a restart at the same step."""
        step = int(self._trainer.state.global_step)
        if step != self._step:
            self._step, self._responses_of_step = step, 0
        first = (step << _STEP_BITS) + self._responses_of_step
        self._responses_of_step += n_responses
        return first


def prompt_ids(ids: Tensor, mask: Tensor) -> Tensor:
    """int64 [B]: a hash of each prompt's tokens, the same for a prompt in every step and rank."""
    rows = zip(ids.cpu().numpy(), mask.cpu().numpy().astype(bool), strict=True)
    digests = [
        hashlib.blake2b(row[keep].astype("<i8").tobytes(), digest_size=8).digest() for row, keep in rows
    ]
    hashes = [int.from_bytes(digest, "little") >> 1 for digest in digests]
    return torch.tensor(hashes, dtype=torch.int64, device=ids.device)


def step_of(sample_id: int) -> int:
    """The step in which a response was generated."""
    return sample_id >> _STEP_BITS
