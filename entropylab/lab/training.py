"""The training loop: GRPO on the task through `entropylab.losses`, as a stream of events."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from ..losses.control_sequence import as_controls, update_control
from ..losses.controls.lp_reg import LpReg
from ..losses.full_kl import FullKL
from ..losses.min_p import min_p_logprobs
from ..losses.policy_loss import PolicyLoss, policy_loss
from .countdown import PROMPT_LENGTH, problem_ids
from .evaluation import Evaluation, evaluate
from .model import PolicyModel
from .rollout import Rollout, logprobs_and_entropy, make_rollout, score
from .settings import LabMethod, LabSettings


@dataclass(frozen=True)
class Update:
    """One optimizer update: its rows of the rollout, what the loss used, and the gradient's norm."""

    rows: slice
    out: PolicyLoss
    logprobs: Tensor
    loss: float
    gradient_norm: float


@dataclass(frozen=True)
class StepResult:
    """One step: the rollout, its updates, and the entropy [B, 10] at the same states after them, in nats."""

    step: int
    rollout: Rollout
    updates: tuple[Update, ...]
    entropy_after: Tensor


@dataclass(frozen=True)
class Learner:
    """A policy in training: the model, its optimizer, and the initial policy where the control needs it.

    ``filtered``: the control takes the policy without its least likely tokens for reference (Lp-Reg).
    """

    model: PolicyModel
    optimizer: torch.optim.Optimizer
    reference: PolicyModel | None
    filtered: bool = False


def make_learner(model: PolicyModel, method: LabMethod, settings: LabSettings) -> Learner:
    """A learner that trains ``model`` in place."""
    controls = as_controls(method.control)
    filtered = any(isinstance(control, LpReg) for control in controls)
    needs = {name for control in controls for name in control.needs}
    reference = deepcopy(model) if needs & {"ref_logprobs", "full_kl"} and not filtered else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate)
    return Learner(model, optimizer, reference, filtered)


def train(model: PolicyModel, method: LabMethod, settings: LabSettings) -> Iterator[StepResult | Evaluation]:
    """Train a model in place; yield each evaluation, then the step of the same policy.

    Step s is the rollout of the policy that s rollouts have trained, and so is evaluation s. The last
    policy is evaluated on the validation and the test split. A control that follows the entropy is updated
    after each step with the entropy of its rollout, as the released controllers do.
    """
    learner = make_learner(model, method, settings)
    for step in range(settings.steps):
        if step % settings.evaluate_every == 0:
            yield _evaluate(model, settings, "validation", step)
        result = train_step(learner, method, settings, step)
        method = replace(method, control=update_control(method.control, result.rollout.entropy.mean().item()))
        yield result
    for split in ("validation", "test"):
        yield _evaluate(model, settings, split, settings.steps)


def _evaluate(model: PolicyModel, settings: LabSettings, split: str, step: int) -> Evaluation:
    return evaluate(model, problem_ids(split), split=split, seed=settings.seed, step=step)


def train_step(learner: Learner, method: LabMethod, settings: LabSettings, step: int) -> StepResult:
    """One rollout, one epoch of mini-batch updates on it, and the entropy at its states afterwards."""
    rollout = _rollout(learner.model, method, settings, step)
    size = settings.responses // settings.mini_batches
    updates = []
    for start in range(0, settings.responses, size):
        rows = slice(start, start + size)
        logprobs, out = _loss(learner, rollout, rows, method, seed=settings.seed, step=step)
        norm = _descend(learner, out.loss, settings.max_grad_norm)
        updates.append(Update(rows, out, logprobs.detach(), out.loss.item(), norm))
    _, entropy_after = score(learner.model, rollout.tokens, settings.mini_batches)
    return StepResult(step, rollout, tuple(updates), entropy_after)


def _rollout(model: PolicyModel, method: LabMethod, settings: LabSettings, step: int) -> Rollout:
    rollout = make_rollout(
        model,
        prompts=settings.prompts,
        group_size=settings.group_size,
        mini_batches=settings.mini_batches,
        seed=settings.seed,
        step=step,
    )
    if method.advantages is None:
        return rollout
    made = method.advantages.advantages(rollout.rewards, rollout.prompt_ids)
    return replace(rollout, advantages=torch.from_numpy(made).to(rollout.advantages.dtype))


def _loss(
    learner: Learner, rollout: Rollout, rows: slice, method: LabMethod, *, seed: int, step: int
) -> tuple[Tensor, PolicyLoss]:
    tokens = rollout.tokens[rows]
    logits = learner.model.response_logits(tokens)
    logprobs, entropy = logprobs_and_entropy(logits, tokens[:, PROMPT_LENGTH:])
    out = policy_loss(
        logprobs,
        rollout.old_logprobs[rows],
        rollout.advantages[rows],
        rollout.mask[rows],
        surrogate=method.surrogate,
        control=method.control_at(step),
        entropy=entropy,
        sample_ids=rollout.sample_ids[rows],
        seed=seed,
        step=step,
        **_reference_inputs(learner, tokens, logits),
    )
    return logprobs, out


@torch.no_grad()
def _reference_logits(reference: PolicyModel, tokens: Tensor) -> Tensor:
    return reference.response_logits(tokens)


def _reference_inputs(learner: Learner, tokens: Tensor, logits: Tensor) -> dict[str, Any]:
    if learner.filtered:
        return {"ref_logprobs": min_p_logprobs(logits.detach(), tokens[:, PROMPT_LENGTH:])}
    if learner.reference is None:
        return {}
    ref_logits = _reference_logits(learner.reference, tokens)
    ref_logprobs, _ = logprobs_and_entropy(ref_logits, tokens[:, PROMPT_LENGTH:])
    return {"ref_logprobs": ref_logprobs, "full_kl": FullKL.from_logits(logits, ref_logits)}


def _descend(learner: Learner, loss: Tensor, max_norm: float) -> float:
    learner.optimizer.zero_grad()
    loss.backward()
    norm = torch.nn.utils.clip_grad_norm_(learner.model.parameters(), max_norm)
    learner.optimizer.step()
    return norm.item()
