"""The training loop: GRPO on the task through `entropylab.losses`, as a stream of events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..influence.token_effects import Influence, token_influence
from ..losses.control_sequence import update_control
from ..losses.policy_loss import PolicyLoss
from .evaluation import Evaluation, evaluate
from .learner import Learner, make_learner
from .loss import mini_batch_loss
from .model import PolicyModel
from .rollout import Rollout, make_rollout, score
from .settings import LabMethod, LabSettings
from .tasks import IntArray, Task, task_named


@dataclass(frozen=True)
class Update:
    """One optimizer update: its rows of the rollout, what the loss used, and the gradient's norm.

    ``influence``: what each token does to the entropy at the same states, where the step records it.
    """

    rows: slice
    out: PolicyLoss
    logprobs: Tensor
    loss: float
    gradient_norm: float
    influence: Influence | None = None


@dataclass(frozen=True)
class StepResult:
    """One step: the rollout, its updates, and the entropy [B, T] at the same states after them, in nats."""

    step: int
    rollout: Rollout
    updates: tuple[Update, ...]
    entropy_after: Tensor


def train(
    model: PolicyModel,
    method: LabMethod,
    settings: LabSettings,
    *,
    learner: Learner | None = None,
    first: int = 0,
) -> Iterator[StepResult | Evaluation]:
    """Train a model in place; yield each evaluation, then the step of the same policy.

    Step s is the rollout of the policy that s rollouts have trained, and so is evaluation s. The last
    policy is evaluated on the validation and the test split. ``learner`` and ``first`` go on with a training
    that has made the rollouts before step ``first``. A control that follows the entropy is updated
    after each step with the entropy of its rollout, as the released controllers do.
    """
    learner = learner or make_learner(model, method, settings)
    for step in range(first, settings.steps):
        if step % settings.evaluate_every == 0:
            yield _evaluate(model, settings, "validation", step)
        result = train_step(learner, method, settings, step)
        method = replace(method, control=update_control(method.control, result.rollout.entropy.mean().item()))
        yield result
    for split in ("validation", "test"):
        yield _evaluate(model, settings, split, settings.steps)


def _evaluate(model: PolicyModel, settings: LabSettings, split: str, step: int) -> Evaluation:
    task = task_named(settings.start.task)
    ids = held_out_problems(task, split)
    return evaluate(model, ids, split=split, seed=settings.seed, step=step, task=task)


def held_out_problems(task: Task, split: str) -> IntArray:
    """Prompt ids that a policy in training is evaluated on: all of the split."""
    return task.problem_ids(split)


def train_step(learner: Learner, method: LabMethod, settings: LabSettings, step: int) -> StepResult:
    """One rollout, one epoch of mini-batch updates on it, and the entropy at its states afterwards."""
    rollout = _rollout(learner.model, method, settings, step)
    size = settings.responses // settings.mini_batches
    updates = []
    for start in range(0, settings.responses, size):
        rows = slice(start, start + size)
        logprobs, out = mini_batch_loss(learner, rollout, rows, method, settings, step)
        influence = (
            _influence(learner, rollout, rows, out, settings) if settings.has_influence(step) else None
        )
        norm = _descend(learner, out.loss, settings.max_grad_norm)
        updates.append(Update(rows, out, logprobs, out.loss.item(), norm, influence))
    _, entropy_after = score(learner.model, rollout.tokens, settings.mini_batches, settings.head)
    return StepResult(step, rollout, tuple(updates), entropy_after)


def _rollout(model: PolicyModel, method: LabMethod, settings: LabSettings, step: int) -> Rollout:
    rollout = make_rollout(
        model,
        prompts=settings.prompts,
        group_size=settings.group_size,
        mini_batches=settings.mini_batches,
        seed=settings.seed,
        step=step,
        head=settings.head,
        task=task_named(settings.start.task),
    )
    if method.advantages is None:
        return rollout
    made = method.advantages.advantages(rollout.rewards, rollout.prompt_ids)
    return replace(rollout, advantages=torch.from_numpy(made).to(rollout.advantages.dtype))


def _influence(
    learner: Learner, rollout: Rollout, rows: slice, out: PolicyLoss, settings: LabSettings
) -> Influence:
    """Of the tokens with the weight that the surrogate alone gives them: A r, 0 where the ratio clip acts."""
    weight = torch.where(out.tokens["clipped"], 0.0, out.tokens["ratio"])
    return token_influence(
        learner.model,
        rollout.tokens[rows],
        rollout.advantages[rows].unsqueeze(1) * weight.nan_to_num(),
        rollout.mask[rows],
        geometry=learner.optimizer,
        max_grad_norm=settings.max_grad_norm,
    )


def _descend(learner: Learner, loss: Tensor, max_norm: float) -> float:
    learner.optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(learner.model.parameters(), max_norm)
    learner.optimizer.step()
    return norm.item()
