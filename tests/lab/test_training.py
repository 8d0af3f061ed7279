from __future__ import annotations

import numpy as np
import pytest
import torch

from entropylab.lab.evaluation import Evaluation
from entropylab.lab.model import PolicyModel, build_model
from entropylab.lab.rollout import group_advantages
from entropylab.lab.settings import (
    DEMO,
    RARE_X,
    SAMPLE_A,
    START_A,
    LabMethod,
    LabSettings,
    method_from_table,
)
from entropylab.lab.training import StepResult, train
from entropylab.losses.methods import METHODS


def short(steps: int = 3, evaluate_every: int = 10, seed: int = 0) -> LabSettings:
    return LabSettings(START_A, steps=steps, evaluate_every=evaluate_every, seed=seed)


def run(method: LabMethod, settings: LabSettings) -> tuple[PolicyModel, list[StepResult], list[Evaluation]]:
    model = build_model(0)
    events = list(train(model, method, settings))
    steps = [event for event in events if isinstance(event, StepResult)]
    return model, steps, [event for event in events if isinstance(event, Evaluation)]


def same_weights(one: PolicyModel, other: PolicyModel) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))


def method(label: str) -> LabMethod:
    return DEMO.with_methods([label]).methods[0]


def test_same_settings_give_the_same_bits() -> None:
    one, steps, evaluations = run(method("clip_cov"), short())
    other, again, evaluations_again = run(method("clip_cov"), short())
    assert same_weights(one, other)
    assert evaluations == evaluations_again
    for first, second in zip(steps, again, strict=True):
        assert torch.equal(first.rollout.tokens, second.rollout.tokens)
        for update, update_again in zip(first.updates, second.updates, strict=True):
            assert torch.equal(update.logprobs, update_again.logprobs)
            assert torch.equal(update.out.tokens["selected"], update_again.out.tokens["selected"])


def test_evaluation_frequency_does_not_change_training() -> None:
    often, _, many = run(method("baseline"), short(evaluate_every=1))
    seldom, _, few = run(method("baseline"), short(evaluate_every=50))
    assert same_weights(often, seldom)
    assert [(e.step, e.split) for e in few] == [(0, "validation"), (3, "validation"), (3, "test")]
    assert [(e.step, e.split) for e in many] == [
        (0, "validation"),
        (1, "validation"),
        (2, "validation"),
        (3, "validation"),
        (3, "test"),
    ]
    assert few[0] == many[0]


def test_another_seed_gives_another_run() -> None:
    one, _, _ = run(method("baseline"), short(steps=1))
    other, _, _ = run(method("baseline"), short(steps=1, seed=1))
    assert not same_weights(one, other)


def test_step_result_is_what_the_loss_used() -> None:
    _, (result,), _ = run(method("kl_cov"), short(steps=1))
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


def test_covariance_is_centred_over_the_mini_batch() -> None:
    _, (result,), _ = run(method("baseline"), short(steps=1))
    update = result.updates[2]
    logprobs = update.logprobs.double().numpy()
    advantages = np.repeat(result.rollout.advantages[update.rows].double().numpy()[:, None], 10, axis=1)
    expected = (advantages - advantages.mean()) * (logprobs - logprobs.mean())
    np.testing.assert_allclose(update.out.tokens["covariance"].numpy(), expected, atol=1e-5)


def test_a_released_control_is_the_plain_surrogate() -> None:
    clip_cov = RARE_X.with_methods(["clip_cov"]).methods[0]
    assert clip_cov.control_at(599) is clip_cov.control
    assert clip_cov.control_at(600) is None
    released = LabMethod("released", "clip_cov", clip_cov.surrogate, clip_cov.control, release_step=0)
    plain = LabMethod("plain", "grpo", clip_cov.surrogate)
    assert same_weights(run(released, short(steps=2))[0], run(plain, short(steps=2))[0])


@pytest.mark.parametrize("key", list(METHODS))
def test_every_method_of_the_table_trains(key: str) -> None:
    model, steps, _ = run(method_from_table(key), short(steps=1))
    assert np.isfinite([update.loss for update in steps[0].updates]).all()
    assert not same_weights(model, build_model(0))


def test_presets_hold_the_settings_of_the_experiments() -> None:
    assert [m.label for m in DEMO.methods] == ["baseline", "clip_cov", "kl_cov"]
    assert [m.label for m in RARE_X.methods] == ["baseline", "clip_cov", "placebo"]
    assert (DEMO.settings.steps, SAMPLE_A.settings.steps, RARE_X.settings.steps) == (150, 400, 1000)
    assert all(m.method_key in METHODS for p in (DEMO, SAMPLE_A, RARE_X) for m in p.methods)
