from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from entropylab.errors import InvalidInputError
from entropylab.lab.countdown import PROMPT_LENGTH, problem_ids, prompt_tokens, verify
from entropylab.lab.evaluation import evaluate
from entropylab.lab.model import build_model
from entropylab.lab.rollout import (
    draw_problems,
    group_advantages,
    logprobs_and_entropy,
    make_rollout,
    sample_responses,
    score,
)
from entropylab.lab.streams import stream


def test_advantages_by_hand() -> None:
    rewards = torch.tensor([1.0, 0, 0, 0, 0, 0, 0, 0] + [1.0] * 8)
    advantages = group_advantages(rewards, 8)
    assert advantages[0].item() == pytest.approx(7 / math.sqrt(8), rel=1e-4)
    assert advantages[1].item() == pytest.approx(-1 / math.sqrt(8), rel=1e-4)
    assert (advantages[8:] == 0).all()


def test_advantages_of_pairs_by_hand() -> None:
    advantages = group_advantages(torch.tensor([1.0, 0.0, 0.0, 0.0]), 2)
    assert advantages.tolist() == pytest.approx([math.sqrt(0.5), -math.sqrt(0.5), 0, 0], rel=1e-5)


@pytest.mark.parametrize(("shape", "size"), [((7,), 2), ((4, 2), 2), ((4,), 1)])
def test_advantages_refuse_broken_groups(shape: tuple[int, ...], size: int) -> None:
    with pytest.raises(InvalidInputError, match="groups"):
        group_advantages(torch.zeros(shape), size)


def test_logprobs_and_entropy_against_float64() -> None:
    logits = torch.randn(3, 10, 48, generator=torch.Generator().manual_seed(0)) * 4
    tokens = torch.randint(0, 48, (3, 10), generator=torch.Generator().manual_seed(1))
    logprobs, entropy = logprobs_and_entropy(logits, tokens)
    reference = log_softmax(logits.double().numpy(), axis=-1)
    chosen = np.take_along_axis(reference, tokens.numpy()[..., None], -1)[..., 0]
    np.testing.assert_allclose(logprobs.numpy(), chosen, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(
        entropy.numpy(), -(np.exp(reference) * reference).sum(-1), rtol=1e-5, atol=1e-6
    )


def test_samples_follow_the_policy() -> None:
    model = build_model(0)
    prompts = torch.from_numpy(prompt_tokens(np.array([17])))
    samples = sample_responses(model, prompts, samples=4000, generator=stream(0, "test"))
    with torch.no_grad():
        expected = model(prompts)[0, -1].softmax(-1)
    frequency = torch.bincount(samples[:, 0], minlength=48) / len(samples)
    assert (frequency - expected).abs().max() < 5 * math.sqrt(0.25 / len(samples))


@torch.no_grad()
def test_greedy_takes_the_most_likely_token_of_the_full_forward() -> None:
    model = build_model(0)
    prompts = torch.from_numpy(prompt_tokens(np.arange(20)))
    tokens = torch.cat([prompts, sample_responses(model, prompts)], dim=1)
    assert torch.equal(model.response_logits(tokens).argmax(-1), tokens[:, PROMPT_LENGTH:])


def test_rollout_is_consistent_and_reproducible() -> None:
    model = build_model(0)
    rollout = make_rollout(model, prompts=8, group_size=4, mini_batches=2, seed=3, step=5)
    again = make_rollout(model, prompts=8, group_size=4, mini_batches=2, seed=3, step=5)
    later = make_rollout(model, prompts=8, group_size=4, mini_batches=2, seed=3, step=6)
    assert torch.equal(rollout.tokens, again.tokens)
    assert not torch.equal(rollout.tokens, later.tokens)
    assert rollout.sample_ids.tolist() == list(range(160, 192))
    prompts, answers = rollout.tokens[:, :PROMPT_LENGTH], rollout.responses
    assert torch.equal(prompts, torch.from_numpy(prompt_tokens(rollout.prompt_ids.numpy())))
    assert rollout.rewards.tolist() == verify(prompts.numpy(), answers.numpy()).astype(float).tolist()
    whole, entropy = score(model, rollout.tokens, 1)
    torch.testing.assert_close(rollout.old_logprobs, whole)
    torch.testing.assert_close(rollout.entropy, entropy)


def test_old_logprobs_equal_the_training_pass_bit_for_bit() -> None:
    model = build_model(0)
    rollout = make_rollout(model, prompts=32, group_size=8, mini_batches=4, seed=0, step=0)
    piece = rollout.tokens[64:128]
    logprobs, _ = logprobs_and_entropy(model.response_logits(piece), piece[:, PROMPT_LENGTH:])
    assert logprobs.requires_grad
    assert torch.equal(logprobs.detach(), rollout.old_logprobs[64:128])


def test_problems_of_a_step_are_different_and_from_training() -> None:
    ids = draw_problems(32, seed=0, step=0)
    assert len(set(ids.tolist())) == 32
    assert set(ids.tolist()) <= set(problem_ids("train").tolist())
    assert not np.array_equal(ids, draw_problems(32, seed=0, step=1))


def test_evaluation_is_reproducible_and_leaves_other_draws_alone() -> None:
    model, ids = build_model(0), problem_ids("validation")[:20]
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    one = evaluate(model, ids, split="validation", seed=0, step=0)
    assert torch.rand(1) == expected
    assert one == evaluate(model, ids, split="validation", seed=0, step=0)
    assert one.n == 20
    assert set(one.metrics) == {"accuracy", "accuracy_greedy", "pass@8"}
    assert 0 <= one.accuracy <= one.pass_at_8 <= 1
