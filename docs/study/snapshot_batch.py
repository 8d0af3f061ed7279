"""The batch of the snapshot: problems, sampled responses, rewards, advantages, and their influence."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from snapshot_model import Chat, Responses, joined, sample
from snapshot_task import Floats, Problem, group_advantages, make_problems
from torch import Tensor

import entropylab as el
from entropylab.influence.token_effects import Influence

T = TypeVar("T")

PROMPTS, GROUP, LENGTH, SEED = 64, 8, 32, 0
PIECE = 128
"""Rows that are sampled at once."""
MICRO_BATCH = 8
"""Rows whose gradient is taken at once."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Problems [n], prompts [n G, P], responses, their texts, rewards and advantages [n G]."""

    problems: Sequence[Problem]
    prompts: Tensor
    responses: Responses
    texts: Sequence[str]
    rewards: Floats
    advantages: Floats

    @property
    def prompt_ids(self) -> np.ndarray:
        """Number of the problem of each response [n G]."""
        return np.repeat(np.arange(len(self.problems)), GROUP)

    @property
    def is_mixed(self) -> np.ndarray:
        """Whether a response's group holds right and wrong ones [n G]."""
        return self.advantages != 0

    def mixed_rows(self, prompts: int) -> np.ndarray:
        """Rows of the first so many prompts with right and wrong responses."""
        first = np.unique(self.prompt_ids[self.is_mixed])[:prompts]
        return np.flatnonzero(np.isin(self.prompt_ids, first))


def make_batch(chat: Chat) -> Batch:
    """Sample and judge `GROUP` responses to each of `PROMPTS` problems."""
    problems = make_problems(PROMPTS, SEED)
    prompts = chat.prompts([p.chat for p in problems]).repeat_interleave(GROUP, 0)
    pieces = [sample(chat, rows, LENGTH, SEED + i) for i, rows in enumerate(prompts.split(PIECE))]
    responses = joined(pieces, LENGTH, chat.end)
    rows = zip(responses.tokens, responses.mask, strict=True)
    texts = [chat.text(tokens[mask].tolist()) for tokens, mask in rows]
    solved = [problems[i // GROUP].is_solved_by(text) for i, text in enumerate(texts)]
    rewards = np.array(solved, dtype=np.float64)
    advantages = group_advantages(rewards.reshape(PROMPTS, GROUP)).reshape(-1)
    return Batch(problems, prompts, responses, texts, rewards, advantages)


def influence_of(chat: Chat, batch: Batch, rows: np.ndarray, *, through_head: bool) -> Influence:
    """Exact influence of the tokens of some rows on those rows' mean entropy, geometry of SGD."""
    ids = torch.cat([batch.prompts, batch.responses.tokens], 1)[rows]
    length = batch.responses.tokens.shape[1]
    return el.token_influence(
        chat.model,
        {"input_ids": ids, "use_cache": False, "logits_to_keep": length + 1},
        torch.tensor(batch.advantages, dtype=torch.float32)[rows],
        batch.responses.mask[rows],
        geometry="sgd",
        micro_batch=MICRO_BATCH,
        head=chat.model.get_output_embeddings() if through_head else None,
    )


def record(folder: Path, batch: Batch, rows: np.ndarray, influence: Influence, vocabulary: int) -> None:
    """The rows of the batch as a run of one step."""
    given = batch.responses
    config = {"model": "SmolLM2-135M-Instruct", "vocab_size": vocabulary, "temperature": 1.0, "seed": SEED}
    with el.Recorder(folder, config=config, method="baseline") as recorder:
        recorder.record(
            0,
            logprobs=given.logprobs[rows],
            old_logprobs=given.logprobs[rows],
            advantages=torch.tensor(batch.advantages)[rows],
            mask=given.mask[rows],
            entropy=given.entropy[rows],
            influence=influence,
            rewards=batch.rewards[rows],
            prompt_ids=batch.prompt_ids[rows],
            sample_ids=rows,
            token_ids=given.tokens[rows],
            texts=[batch.texts[row] for row in rows],
        )


def kept(path: Path, make: Callable[[], T]) -> T:
    """What a file of an earlier call holds; else made now and kept there."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.save(make(), path)
    return torch.load(path, weights_only=False)
