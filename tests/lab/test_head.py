"""The lab trains alike from all logits and from hidden states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from entropylab import open_run
from entropylab.errors import InvalidInputError
from entropylab.lab.experiment import RunPlan, make_run
from entropylab.lab.learner import make_learner
from entropylab.lab.rollout import make_rollout, score
from entropylab.lab.settings import DEMO, LabMethod, LabSettings, Start, method_from_table
from entropylab.lab.training import StepResult, train_step
from entropylab.lab.warmup import load_start
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.surrogates import ImportanceSampling

Both = Callable[..., list[list[StepResult]]]
FULL_KL = LabMethod(
    "full", "kl_cov_7b", ImportanceSampling(), KLCov(fraction=0.1, divergence="reverse_kl", reference="ref")
)
SEED = 9
"""Each of the first four mini-batches holds a right answer."""

METHODS = ("grpo", "entropy_bonus", "kl_penalty", "clip_cov_top", "kl_cov_targeted", "qae", "lp_reg", "steer")
"""One of each set of inputs that a loss takes from the head; test_fused_methods.py has every method."""


@pytest.fixture
def both(starts: Path, weak_start: Start) -> Both:
    """The steps of a method by head, logits first."""

    def run(method: LabMethod, steps: int) -> list[list[StepResult]]:
        found = []
        for head in ("logits", "fused"):
            settings = LabSettings(weak_start, steps=steps, evaluate_every=10, seed=SEED, head=head)
            learner = make_learner(load_start(starts, weak_start), method, settings)
            found.append([train_step(learner, method, settings, step) for step in range(steps)])
        return found

    return run


def deviation(both: list[list[StepResult]], step: int) -> float:
    """Of the logprobs, the loss and the gradient's norm of the updates of a step, the largest."""
    one, other = (steps[step].updates for steps in both)
    return max(
        max(float((a.logprobs - b.logprobs).abs().max()) for a, b in zip(one, other, strict=True)),
        max(abs(a.loss - b.loss) for a, b in zip(one, other, strict=True)),
        max(abs(a.gradient_norm - b.gradient_norm) for a, b in zip(one, other, strict=True)),
    )


def chosen(result: StepResult) -> torch.Tensor:
    return torch.cat([update.out.tokens["selected"] for update in result.updates])


@pytest.mark.quick("clip_cov_top", "kl_cov_targeted", "steer")
@pytest.mark.filterwarnings("ignore:.*choose on a larger token set")
@pytest.mark.parametrize("method", [*METHODS, "full"])
def test_every_method_takes_the_same_first_step(both: Both, method: str) -> None:
    found = both(FULL_KL if method == "full" else method_from_table(method), 1)
    first, again = (steps[0] for steps in found)
    assert torch.equal(first.rollout.tokens, again.rollout.tokens)
    assert torch.equal(chosen(first), chosen(again))
    assert min(update.gradient_norm for update in again.updates) > 0
    assert deviation(found, 0) <= 5e-5


@pytest.mark.quick("kl_cov")
@pytest.mark.parametrize("label", ["baseline", "clip_cov", "kl_cov"])
def test_curves_are_the_same(both: Both, label: str) -> None:
    """Rounding grows with the steps, and where it changes a sampled token the rollouts part."""
    found = both(DEMO.with_methods([label]).methods[0], 3)
    assert torch.equal(chosen(found[0][0]), chosen(found[1][0]))
    assert deviation(found, 0) <= 5e-5
    entropies = np.array([[step.rollout.entropy.mean().item() for step in steps] for steps in found])
    rewards = np.array([[step.rollout.rewards.mean().item() for step in steps] for steps in found])
    np.testing.assert_allclose(entropies[0][:2], entropies[1][:2], atol=1e-5)
    np.testing.assert_allclose(entropies[0], entropies[1], atol=1e-2)
    np.testing.assert_allclose(rewards[0], rewards[1], atol=1e-2)


def test_the_first_update_of_a_step_sees_a_ratio_of_one(both: Both) -> None:
    _, (fused,) = both(DEMO.with_methods(["kl_cov"]).methods[0], 1)
    assert torch.equal(fused.updates[0].logprobs, fused.rollout.old_logprobs[:64])
    assert (fused.updates[0].out.tokens["ratio"] == 1).all()


def test_scores_from_states_are_those_from_logits(starts: Path, weak_start: Start) -> None:
    model = load_start(starts, weak_start)
    rollout = make_rollout(model, prompts=4, group_size=4, mini_batches=2, seed=0, step=0)
    for one, other in zip(
        *(score(model, rollout.tokens, 2, head) for head in ("logits", "fused")), strict=True
    ):
        torch.testing.assert_close(one, other, rtol=0, atol=2e-6)


@pytest.mark.usefixtures("few_problems")
def test_the_head_is_part_of_a_run(starts: Path, weak_start: Start, tmp_path: Path) -> None:
    preset = DEMO.with_settings(start=weak_start, steps=2, evaluate_every=2, head="fused", seed=SEED)
    plan = RunPlan(tmp_path / "run", preset.methods[1], preset.settings)
    assert make_run(plan, starts)
    run = open_run(plan.folder)
    assert (run.config["head"], run.problems()) == ("fused", [])
    assert (run.steps()["selected_count"] > 0).all()
    assert not make_run(plan, starts)
    with pytest.raises(InvalidInputError, match="head 'fused' instead of 'logits'"):
        make_run(replace(plan, settings=replace(plan.settings, head="logits")), starts)
    with pytest.raises(InvalidInputError, match="head is 'both': choose one of logits, fused"):
        preset.with_settings(head="both")
