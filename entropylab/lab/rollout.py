"""Rollouts: sampled responses, their rewards and advantages, and the rollout policy's view of them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..errors import InvalidInputError
from ..losses.heads.statistics import token_stats
from .model import Cache, PolicyModel
from .streams import stream
from .tasks import COUNTDOWN, IntArray, Task

ADVANTAGE_EPSILON = 1e-6


@dataclass(frozen=True)
class Rollout:
    """B = prompts x group size responses, the samples of a prompt side by side.

    ``tokens`` [B, P + T] are whole sequences; ``old_logprobs`` and ``entropy`` [B, T], in nats, belong to the
    policy that sampled them, at T = 1; the others are [B].
    """

    tokens: Tensor
    prompt_ids: Tensor
    sample_ids: Tensor
    rewards: Tensor
    advantages: Tensor
    old_logprobs: Tensor
    entropy: Tensor

    @property
    def responses(self) -> Tensor:
        """Response tokens [B, T]."""
        return self.tokens[:, -self.old_logprobs.shape[1] :]

    @property
    def mask(self) -> Tensor:
        """All-true mask [B, T]: every response has all its tokens."""
        return torch.ones_like(self.old_logprobs, dtype=torch.bool)


@torch.no_grad()
def sample_responses(
    model: PolicyModel, prompts: Tensor, *, samples: int = 1, generator: torch.Generator | None = None
) -> Tensor:
    """Responses [N x samples, T] to the prompts [N, P] at T = 1; greedy where no generator is given."""
    cache = Cache()
    logits = model(prompts, cache, last=1)[:, 0].repeat_interleave(samples, 0)
    cache = cache.repeat(samples)
    tokens: list[Tensor] = []
    while True:
        tokens.append(_next_tokens(logits, generator))
        if len(tokens) == model.response_length:
            return torch.stack(tokens, dim=1)
        logits = model(tokens[-1][:, None], cache)[:, 0]


def _next_tokens(logits: Tensor, generator: torch.Generator | None) -> Tensor:
    if generator is None:
        return logits.argmax(dim=-1)
    return torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)[:, 0]


def logprobs_and_entropy(logits: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """log π(token) and H = -Σ π log π in nats, each [B, T], from logits [B, T, V] and tokens [B, T]."""
    log_policy = logits.log_softmax(dim=-1)
    entropy = -(log_policy.exp() * log_policy).sum(dim=-1)
    return log_policy.gather(-1, tokens[..., None])[..., 0], entropy


@torch.no_grad()
def score(model: PolicyModel, tokens: Tensor, pieces: int, head: str = "logits") -> tuple[Tensor, Tensor]:
    """Logprobs and entropy [B, T] of whole sequences [B, P + T], read in ``pieces`` equal pieces.

    With the pieces of the training's mini-batches and its ``head`` the numbers equal the training's own bit
    for bit, so the first update of a step sees a ratio of exactly 1.
    """
    read = _from_states if head == "fused" else _from_logits
    parts = [read(model, piece) for piece in tokens.chunk(pieces)]
    return torch.cat([logprobs for logprobs, _ in parts]), torch.cat([entropy for _, entropy in parts])


def _from_logits(model: PolicyModel, tokens: Tensor) -> tuple[Tensor, Tensor]:
    return logprobs_and_entropy(model.response_logits(tokens), tokens[:, -model.response_length :])


def _from_states(model: PolicyModel, tokens: Tensor) -> tuple[Tensor, Tensor]:
    found = token_stats(model.response_states(tokens), model.head.weight, tokens[:, -model.response_length :])
    return found.logprobs, found.entropy


def group_advantages(rewards: Tensor, group_size: int) -> Tensor:
    """A = (R - mean) / (std + 1e-6) within each group of consecutive responses (GRPO, arXiv 2402.03300).

    ``std`` is the sample standard deviation (n - 1); a group of equal rewards gets zeros.
    Errors: InvalidInputError where [B] rewards are not whole groups of at least 2.
    """
    if group_size < 2 or rewards.ndim != 1 or len(rewards) % group_size:
        raise InvalidInputError(
            f"rewards of shape {tuple(rewards.shape)} are not groups of {group_size}: "
            "give [B] with B a multiple of a group size of at least 2"
        )
    groups = rewards.view(-1, group_size)
    centred = groups - groups.mean(dim=1, keepdim=True)
    return (centred / (groups.std(dim=1, keepdim=True) + ADVANTAGE_EPSILON)).flatten()


def rewards_of(prompts: Tensor, responses: Tensor, task: Task = COUNTDOWN) -> Tensor:
    """The reward [B] of each response [B, T] to its prompt [B, P]; 1.0 where it is right."""
    return torch.from_numpy(task.rewards(prompts.numpy(), responses.numpy())).float()


def draw_problems(count: int, seed: int, step: int, task: Task = COUNTDOWN) -> IntArray:
    """Prompt ids of ``count`` different training problems for one step."""
    ids = task.problem_ids("train")
    order = torch.randperm(len(ids), generator=stream(seed, "problems", step))
    return ids[order[:count].numpy()]


def make_rollout(
    model: PolicyModel,
    *,
    prompts: int,
    group_size: int,
    mini_batches: int,
    seed: int,
    step: int,
    head: str = "logits",
    task: Task = COUNTDOWN,
) -> Rollout:
    """Sample a group of responses to each of a step's training problems, and judge them."""
    ids = torch.from_numpy(draw_problems(prompts, seed, step, task))
    questions = torch.from_numpy(task.prompt_tokens(ids.numpy()))
    responses = sample_responses(
        model, questions, samples=group_size, generator=stream(seed, "rollout", step)
    )
    questions = questions.repeat_interleave(group_size, 0)
    tokens = torch.cat([questions, responses], dim=1)
    rewards = rewards_of(questions, responses, task)
    old_logprobs, entropy = score(model, tokens, mini_batches, head)
    return Rollout(
        tokens=tokens,
        prompt_ids=ids.repeat_interleave(group_size),
        sample_ids=torch.arange(len(tokens)) + step * len(tokens),
        rewards=rewards,
        advantages=group_advantages(rewards, group_size),
        old_logprobs=old_logprobs,
        entropy=entropy,
    )
