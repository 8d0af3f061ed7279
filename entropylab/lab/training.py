"""The training loop: GRPO on the task through `entropylab.losses`, as a stream of events."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ..errors import InvalidInputError
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
    """One micro-batch of an optimizer update: its rows of the rollout, what its loss used, and of the update
    the loss and the gradient's norm.

    ``influence``: what each token does to the entropy at the same states, where the step records it.
    """

    index: int
    micro_step: int
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
    _check_micro_batches(method, settings)
    learner = learner or make_learner(model, method, settings)
    for step in range(first, settings.steps):
        if step % settings.evaluate_every == 0:
            yield _evaluate(model, settings, "validation", step)
        result = train_step(learner, method, settings, step)
        method = replace(method, control=update_control(method.control, result.rollout.entropy.mean().item()))
        yield result
    for split in ("validation", "test"):
        yield _evaluate(model, settings, split, settings.steps)


def _check_micro_batches(method: LabMethod, settings: LabSettings) -> None:
    size = settings.responses // settings.mini_batches
    if method.micro_batches < 1 or size % method.micro_batches:
        raise InvalidInputError(
            f"micro_batches is {method.micro_batches}: the {size} responses of an update do not make so many "
            "equal parts"
        )
    if method.micro_batches > 1 and settings.influence_every is not None:
        raise InvalidInputError("influence_every is of whole updates: leave it out, or set micro_batches=1")


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
    updates: list[Update] = []
    for index, update in enumerate(_parts(slice(0, settings.responses), settings.mini_batches)):
        updates += _update(learner, rollout, update, index, method, settings, step)
    _, entropy_after = score(learner.model, rollout.tokens, settings.mini_batches, settings.head)
    return StepResult(step, rollout, tuple(updates), entropy_after)


def _parts(rows: slice, count: int) -> list[slice]:
    """Equal parts of rows."""
    size = (rows.stop - rows.start) // count
    return [slice(start, start + size) for start in range(rows.start, rows.stop, size)]


def _update(
    learner: Learner,
    rollout: Rollout,
    rows: slice,
    index: int,
    method: LabMethod,
    settings: LabSettings,
    step: int,
) -> list[Update]:
    """One step of the optimizer on some rows: what each of its micro-batches was."""
    parts = _parts(rows, method.micro_batches)
    made = [mini_batch_loss(learner, rollout, part, method, settings, step) for part in parts]
    influence = (
        _influence(learner, rollout, rows, made[0][1], settings) if settings.has_influence(step) else None
    )
    loss = torch.stack([out.loss for _, out in made]).mean()
    norm = _descend(learner, loss, settings.max_grad_norm)
    return [
        Update(index, micro_step, part, out, logprobs, loss.item(), norm, influence)
        for micro_step, (part, (logprobs, out)) in enumerate(zip(parts, made, strict=True))
    ]


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
