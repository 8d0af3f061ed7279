"""The training loop: GRPO on the task through `entropylab.losses`, as a stream of events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from ..losses.policy_loss import PolicyLoss, policy_loss
from .countdown import PROMPT_LENGTH, problem_ids
from .evaluation import Evaluation, evaluate
from .model import PolicyModel
from .rollout import Rollout, logprobs_and_entropy, make_rollout, score
from .settings import LabMethod, LabSettings


@dataclass(frozen=True)
class Update:
    """One optimizer update: its rows of the rollout, what the loss used, and the gradient norm before clipping."""

    rows: slice
    out: PolicyLoss
    logprobs: Tensor
    gradient_norm: float


@dataclass(frozen=True)
class StepResult:
    """One step: the rollout, its updates, and the entropy [B, 10] at the same states after them, in nats."""

    step: int
    rollout: Rollout
    updates: tuple[Update, ...]
    entropy_after: Tensor


def train(model: PolicyModel, method: LabMethod, settings: LabSettings) -> Iterator[StepResult | Evaluation]:
    """Train a model in place; yield each step, and each evaluation before the step of the same policy.

    Step s is the rollout of the policy that s rollouts have trained, as is evaluation s. The last policy is
    evaluated on the validation and the test split.
    """
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    for step in range(settings.steps):
        if step % settings.evaluate_every == 0:
            yield _evaluate(model, settings, "validation", step)
        yield train_step(model, optimizer, method, settings, step)
    for split in ("validation", "test"):
        yield _evaluate(model, settings, split, settings.steps)


def _evaluate(model: PolicyModel, settings: LabSettings, split: str, step: int) -> Evaluation:
    return evaluate(model, problem_ids(split), split=split, seed=settings.seed, step=step)


def train_step(
    model: PolicyModel, optimizer: torch.optim.Optimizer, method: LabMethod, settings: LabSettings, step: int
) -> StepResult:
    """One rollout, one epoch of mini-batch updates on it, and the entropy at its states afterwards."""
    rollout = make_rollout(
        model,
        prompts=settings.prompts,
        group_size=settings.group_size,
        mini_batches=settings.mini_batches,
        seed=settings.seed,
        step=step,
    )
    size = settings.responses // settings.mini_batches
    updates = tuple(
        _update(model, optimizer, rollout, slice(start, start + size), method, settings, step)
        for start in range(0, settings.responses, size)
    )
    _, entropy_after = score(model, rollout.tokens, settings.mini_batches)
    return StepResult(step, rollout, updates, entropy_after)


def _update(
    model: PolicyModel,
    optimizer: torch.optim.Optimizer,
    rollout: Rollout,
    rows: slice,
    method: LabMethod,
    settings: LabSettings,
    step: int,
) -> Update:
    tokens = rollout.tokens[rows]
    logprobs, entropy = logprobs_and_entropy(model.response_logits(tokens), tokens[:, PROMPT_LENGTH:])
    out = policy_loss(
        logprobs,
        rollout.old_logprobs[rows],
        rollout.advantages[rows],
        rollout.mask[rows],
        surrogate=method.surrogate,
        control=method.control_at(step),
        entropy=entropy,
        sample_ids=rollout.sample_ids[rows],
        seed=settings.seed,
        step=step,
    )
    optimizer.zero_grad()
    out.loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.max_grad_norm)
    optimizer.step()
    return Update(rows, out, logprobs.detach(), norm.item())
