from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from entropylab.errors import InvalidInputError
from entropylab.lab import rollout
from entropylab.lab.evaluation import Evaluation
from entropylab.lab.model import PolicyModel
from entropylab.lab.rollout import group_advantages
from entropylab.lab.settings import (
    DEMO,
    RARE_X,
    SAMPLE_A,
    LabMethod,
    LabSettings,
    Start,
    method_from_table,
)
from entropylab.lab.training import StepResult, make_learner, train, train_step
from entropylab.lab.warmup import load_start
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.quantile_baseline import QuantileBaseline
from entropylab.losses.controls.target_kl_cov import TargetKLCov
from entropylab.losses.methods import METHODS
from entropylab.losses.surrogates import ImportanceSampling, PPOClip

RunSteps = Callable[..., tuple[PolicyModel, list[StepResult]]]


@pytest.fixture
def run_steps(starts: Path, weak_start: Start) -> RunSteps:
    def run(method: LabMethod, *, steps: int = 1, seed: int = 0) -> tuple[PolicyModel, list[StepResult]]:
        settings = LabSettings(weak_start, steps=steps, evaluate_every=10, seed=seed)
        model = load_start(starts, weak_start)
        learner = make_learner(model, method, settings)
        return model, [train_step(learner, method, settings, step) for step in range(steps)]

    return run


def same_weights(one: PolicyModel, other: PolicyModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def method(label: str) -> LabMethod:
    return DEMO.with_methods([label]).methods[0]


def test_same_settings_give_the_same_bits(run_steps: RunSteps) -> None:
    one, steps = run_steps(method("clip_cov"), steps=3)
    other, again = run_steps(method("clip_cov"), steps=3)
    assert same_weights(one, other)
    for first, second in zip(steps, again, strict=True):
        assert torch.equal(first.rollout.tokens, second.rollout.tokens)
        for update, update_again in zip(first.updates, second.updates, strict=True):
            assert torch.equal(update.logprobs, update_again.logprobs)
            assert torch.equal(update.out.tokens["selected"], update_again.out.tokens["selected"])


@pytest.mark.usefixtures("few_problems")
def test_evaluation_does_not_change_training(run_steps: RunSteps, starts: Path, weak_start: Start) -> None:
    plain, _ = run_steps(method("baseline"), steps=3)
    model = load_start(starts, weak_start)
    events = list(train(model, method("baseline"), LabSettings(weak_start, steps=3, evaluate_every=2)))
    assert same_weights(model, plain)
    order = [(e.step, e.split if isinstance(e, Evaluation) else "train") for e in events]
    assert order == [
        (0, "validation"),
        (0, "train"),
        (1, "train"),
        (2, "validation"),
        (2, "train"),
        (3, "validation"),
        (3, "test"),
    ]


def test_another_seed_gives_another_run(run_steps: RunSteps) -> None:
    one, _ = run_steps(method("baseline"))
    other, _ = run_steps(method("baseline"), seed=1)
    assert not same_weights(one, other)


def test_step_result_is_what_the_loss_used(run_steps: RunSteps) -> None:
    _, (result,) = run_steps(method("kl_cov"))
    rollout = result.rollout
    assert rollout.tokens.shape == (256, 17)
    assert torch.equal(rollout.advantages, group_advantages(rollout.rewards, 8))
    assert [update.rows for update in result.updates] == [slice(i, i + 64) for i in (0, 64, 128, 192)]
    first = result.updates[0]
    assert torch.equal(first.logprobs, rollout.old_logprobs[:64])
    assert (first.out.tokens["ratio"] == 1).all()
    assert int(first.out.tokens["selected"].sum()) == 64
    assert not torch.equal(result.updates[1].logprobs, rollout.old_logprobs[64:128])
    assert not torch.equal(result.entropy_after, rollout.entropy)
    assert result.entropy_after.shape == (256, 10)


def test_covariance_is_centred_over_the_mini_batch(run_steps: RunSteps) -> None:
    _, (result,) = run_steps(method("baseline"))
    update = result.updates[2]
    logprobs = update.logprobs.double().numpy()
    advantages = np.repeat(result.rollout.advantages[update.rows].double().numpy()[:, None], 10, axis=1)
    expected = (advantages - advantages.mean()) * (logprobs - logprobs.mean())
    np.testing.assert_allclose(update.out.tokens["covariance"].numpy(), expected, atol=1e-5)


def test_a_released_control_is_the_plain_surrogate(run_steps: RunSteps) -> None:
    clip_cov = RARE_X.with_methods(["clip_cov"]).methods[0]
    assert clip_cov.control_at(599) is clip_cov.control
    assert clip_cov.control_at(600) is None
    released = LabMethod("released", "clip_cov", clip_cov.surrogate, clip_cov.control, release_step=0)
    plain = LabMethod("plain", "grpo", clip_cov.surrogate)
    assert same_weights(run_steps(released, steps=2)[0], run_steps(plain, steps=2)[0])


@pytest.mark.quick(
    "grpo",
    "reinforce",
    "gspo",
    "clip_cov",
    "kl_cov_7b",
    "kl_penalty",
    "forking_tokens",
    "lp_reg",
    "adaptive_entropy",
)
@pytest.mark.filterwarnings("ignore:.*choose on a larger token set")
@pytest.mark.parametrize("key", list(METHODS))
def test_every_method_of_the_table_trains(
    run_steps: RunSteps, starts: Path, weak_start: Start, key: str
) -> None:
    model, steps = run_steps(method_from_table(key))
    assert np.isfinite([update.loss for update in steps[0].updates]).all()
    assert not same_weights(model, load_start(starts, weak_start))


def test_presets_hold_the_settings_of_the_experiments() -> None:
    assert [m.label for m in DEMO.methods] == ["baseline", "clip_cov", "kl_cov"]
    assert [m.label for m in RARE_X.methods] == ["baseline", "clip_cov", "placebo"]
    assert (DEMO.settings.steps, SAMPLE_A.settings.steps, RARE_X.settings.steps) == (150, 400, 1000)
    assert all(m.method_key in METHODS for p in (DEMO, SAMPLE_A, RARE_X) for m in p.methods)


@pytest.mark.usefixtures("few_problems")
def test_a_control_that_follows_the_entropy_is_updated_after_each_step(
    starts: Path, weak_start: Start
) -> None:
    settings = LabSettings(weak_start, steps=3, evaluate_every=100)
    control = TargetKLCov(fraction=0.1, target=5.0, gain=2.0)
    method = LabMethod("adaptive", "kl_cov_target", ImportanceSampling(), control)
    expected, models = [], []
    for one in (method, replace(method, control=KLCov(fraction=0.1))):
        model = load_start(starts, weak_start, 0)
        results = [event for event in train(model, one, settings) if isinstance(event, StepResult)]
        expected.append([result.rollout.entropy.mean().item() for result in results])
        models.append(model)
    assert expected[0][:2] == expected[1][:2], "the first step has the starting strength"
    assert control.updated(expected[0][0]).beta > 2.0
    assert not same_weights(*models), "and the later ones another"


def test_quantile_advantages_replace_those_of_grpo(run_steps: RunSteps) -> None:
    _, steps = run_steps(method_from_table("qae"))
    rollout = steps[0].rollout
    made = QuantileBaseline().advantages(rollout.rewards, rollout.prompt_ids)
    np.testing.assert_allclose(rollout.advantages.numpy(), made, rtol=1e-6)
    assert (rollout.advantages[rollout.rewards == 0] <= 0).all()


def test_micro_batches_choose_apart_and_learn_together(
    starts: Path, weak_start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a control the parts of an update are the update; with one each part chooses for itself."""
    monkeypatch.setattr(rollout, "rewards_of", lambda _, responses, task: (responses[:, 0] % 2).float())
    settings = LabSettings(weak_start, steps=1, evaluate_every=1, mini_batches=2)
    control = ClipCov.top(0.05)
    for chooses, whole in (
        (False, method_from_table("grpo")),
        (True, LabMethod("c", "c", PPOClip(), control)),
    ):
        steps = []
        for method in (whole, replace(whole, micro_batches=4)):
            learner = make_learner(load_start(starts, weak_start), method, settings)
            steps.append(train_step(learner, method, settings, 0))
        one, parts = steps
        assert [(u.index, u.micro_step) for u in parts.updates] == [
            (i, k) for i in range(2) for k in range(4)
        ]
        same = torch.allclose(one.entropy_after, parts.entropy_after, atol=1e-5)
        assert same != chooses
        if chooses:
            assert all(int(u.out.tokens["selected"].sum()) == 16 for u in parts.updates)


def test_micro_batches_that_do_not_fit_are_named(starts: Path, weak_start: Start) -> None:
    settings = LabSettings(weak_start, steps=1, evaluate_every=1, influence_every=1)
    for count, message in ((3, "do not make so many"), (2, "influence_every is of whole updates")):
        method = replace(method_from_table("grpo"), micro_batches=count)
        with pytest.raises(InvalidInputError, match=message):
            next(train(load_start(starts, weak_start), method, settings))
