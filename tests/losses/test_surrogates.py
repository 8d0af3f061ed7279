"""Surrogates beside PPO: the objectives that their papers state, and bad settings."""

from __future__ import annotations

import math

import pytest
import torch

from entropylab.errors import InvalidInputError
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import BAPO, CISPO, GPPO, GSPO, ImportanceSampling, PPOClip


def _columns(tokens):
    return tokens.logprobs, tokens.old_logprobs, tokens.advantages, tokens.mask


@pytest.fixture
def tokens(make_tokens):
    return make_tokens(8, 90, seed=4)


def _gradient(tokens, loss):
    return torch.autograd.grad(loss, tokens.logprobs)[0]


@pytest.mark.parametrize("bounds", [(3e-4, 4e-4), (0.05, 0.05), (1.0, 1e6)])
def test_gspo_is_the_sequence_objective(tokens, bounds):
    """1/B Σ max(-A·s, -A·clip(s)), s a differentiable function of all tokens of the response."""
    tokens.advantages = tokens.advantages[:, 0].contiguous()
    surrogate = GSPO(*bounds)
    out = policy_loss(*_columns(tokens), surrogate=surrogate, reduction="seq_mean_token_mean")
    gap = torch.where(tokens.mask, tokens.logprobs - tokens.old_logprobs, 0.0)
    ratio = torch.exp(gap.sum(1) / tokens.mask.sum(1))
    clipped = ratio.clamp(1 - surrogate.low, 1 + surrogate.high)
    objective = torch.maximum(-tokens.advantages * ratio, -tokens.advantages * clipped).mean()
    torch.testing.assert_close(out.loss, objective, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(
        _gradient(tokens, out.loss), _gradient(tokens, objective), rtol=1e-10, atol=1e-15
    )


def test_gspo_clips_whole_responses(tokens):
    tokens.advantages = tokens.advantages[:, 0].contiguous()
    out = policy_loss(*_columns(tokens), surrogate=GSPO())
    shares = [set(out.tokens["clipped"][b][tokens.mask[b]].tolist()) for b in range(8)]
    assert all(len(share) == 1 for share in shares)
    assert {True} in shares
    assert {False} in shares


def test_gppo_has_the_value_of_ppo_and_a_gradient_everywhere(tokens):
    ppo, gppo = PPOClip(0.2, 0.28), GPPO(0.2, 0.28)
    clip, keep = (policy_loss(*_columns(tokens), surrogate=s) for s in (ppo, gppo))
    torch.testing.assert_close(clip.loss, keep.loss, rtol=1e-13, atol=1e-15)
    assert torch.equal(clip.tokens["clipped"], keep.tokens["clipped"])
    gradient = _gradient(tokens, keep.loss)
    assert (gradient[tokens.mask] != 0).all()
    clipped = keep.tokens["clipped"]
    assert clipped.any()
    n = int(tokens.mask.sum())
    bound = torch.full_like(tokens.advantages, 0.8).masked_fill(tokens.advantages > 0, 1.28)
    torch.testing.assert_close(
        gradient[clipped], (-tokens.advantages * bound / n)[clipped], rtol=1e-12, atol=1e-16
    )


def test_ce_gppo_weighs_the_two_sides(tokens):
    even, uneven = (
        _gradient(tokens, policy_loss(*_columns(tokens), surrogate=s).loss)
        for s in (GPPO(0.2, 0.2), GPPO(0.2, 0.2, beta_low=0.75, beta_high=0.5))
    )
    ratio = (tokens.logprobs - tokens.old_logprobs).detach().exp()
    below = tokens.mask & (ratio < 0.8) & (tokens.advantages < 0)
    above = tokens.mask & (ratio > 1.2) & (tokens.advantages > 0)
    expected = torch.where(below, 0.75, torch.where(above, 0.5, 1.0).double())
    torch.testing.assert_close(uneven, even * expected, rtol=1e-12, atol=1e-16)


def test_cispo_keeps_the_gradient_of_every_token(tokens):
    out = policy_loss(*_columns(tokens), surrogate=CISPO(low=1.0, high=0.2))
    gradient = _gradient(tokens, out.loss)
    ratio = (tokens.logprobs - tokens.old_logprobs).detach().exp()
    expected = torch.where(tokens.mask, -tokens.advantages * ratio.clamp(max=1.2), 0.0)
    torch.testing.assert_close(gradient, expected / int(tokens.mask.sum()), rtol=1e-12, atol=1e-16)
    assert torch.equal(out.tokens["clipped"], tokens.mask & (ratio > 1.2))


def test_cispo_far_from_its_bounds_has_the_gradient_of_importance_sampling(tokens):
    wide, plain = (
        _gradient(tokens, policy_loss(*_columns(tokens), surrogate=s).loss)
        for s in (CISPO(low=1.0, high=1e6), ImportanceSampling())
    )
    torch.testing.assert_close(wide, plain, rtol=1e-12, atol=1e-16)


# --- BAPO


def test_bapo_tries_the_lower_bound_first_then_the_upper():
    pairs = BAPO().pairs()
    assert pairs[0] == (0.6, 1.2)
    assert [round(low, 10) for low, _ in pairs[:5]] == [0.6, 0.65, 0.7, 0.75, 0.8]
    assert pairs[4] == (0.8, 1.2)
    assert len(pairs) == 5 + 16
    assert all(low == 0.8 for low, _ in pairs[4:])
    assert pairs[-1] == (0.8, 2.0)
    assert BAPO(lower_start=0.7, lower_stop=0.7, upper_stop=1.2).pairs() == [(0.7, 1.2)]


@pytest.mark.parametrize(
    ("ratio", "advantages", "expected"),
    [
        ([3.0, 1.0], [1.0, -1.0], (0.6, 1.2)),  # 1.2 ≥ 1
        ([3.0, 0.1], [1.0, -1.9], (0.6, 1.2)),  # 1.2 ≥ 1.9 · 0.6
        ([3.0, 1.0], [1.0, -1.33], (0.8, 1.35)),  # a higher lower bound changes nothing here
        ([3.0, 1.0], [1.0, -9.0], (0.8, 2.0)),  # never enough: the last pair
        ([1.0, 1.0], [1.0, 0.0], (0.6, 1.2)),  # nothing is punished
    ],
)
def test_bapo_bounds_by_hand(ratio, advantages, expected):
    columns = (torch.tensor([ratio], dtype=torch.float64), torch.tensor([advantages], dtype=torch.float64))
    lower, upper = BAPO().bounds(*columns, torch.ones(1, 2))
    assert (float(lower), float(upper)) == pytest.approx(expected)


def test_bapo_reports_its_bounds_and_equals_the_clip_at_them(tokens):
    surrogate = BAPO(target=1.2)
    out = policy_loss(*_columns(tokens), surrogate=surrogate)
    lower, upper = (float(out.metrics[f"entropylab/bapo/{side}"]) for side in ("lower", "upper"))
    ratio = (tokens.logprobs - tokens.old_logprobs).detach().exp()
    found = surrogate.bounds(ratio, tokens.advantages, tokens.mask)
    assert (lower, upper) == pytest.approx([float(x) for x in found])
    fixed = policy_loss(*_columns(tokens), surrogate=PPOClip(1 - lower, upper - 1))
    torch.testing.assert_close(out.loss, fixed.loss, rtol=1e-10, atol=1e-12)


def test_bapo_bounds_ignore_what_is_outside_the_mask(tokens):
    ratio = (tokens.logprobs - tokens.old_logprobs).detach().exp()
    clean = BAPO().bounds(ratio, tokens.advantages, tokens.mask)
    dirty = BAPO().bounds(
        ratio.masked_fill(~tokens.mask, math.nan),
        tokens.advantages.masked_fill(~tokens.mask, math.nan),
        tokens.mask,
    )
    assert [float(x) for x in clean] == [float(x) for x in dirty]


# --- bad settings


@pytest.mark.parametrize("kind", [PPOClip, GSPO, CISPO, GPPO])
@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"low": 1.5}, "low=1.5 is above 1"),
        ({"low": -0.1}, "low=-0.1 is below 0"),
        ({"high": -0.1}, "high=-0.1 is below 0"),
        ({"high": math.nan}, "high=nan is not a finite number"),
        ({"low": "0.2"}, "low='0.2' is not a finite number"),
        ({"high": True}, "high=True is not a finite number"),
    ],
)
def test_bounds_of_a_ratio(kind, values, message):
    with pytest.raises(InvalidInputError, match=f"{kind.__name__}: {message}"):
        kind(**values)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GPPO(beta_low=-1.0), "GPPO: beta_low=-1.0 is below 0"),
        (lambda: GPPO(beta_high=math.inf), "GPPO: beta_high=inf is not a finite number"),
        (lambda: BAPO(target=-1.0), "BAPO: target=-1.0 is below 0"),
        (lambda: BAPO(lower_start=0.9), "BAPO: lower_start=0.9 is above lower_stop=0.8"),
        (lambda: BAPO(upper_start=3.0), "BAPO: upper_start=3.0 is above upper_stop=2.0"),
        (lambda: BAPO(upper_step=0.0), "BAPO: upper_step=0.0 is not positive"),
        (lambda: BAPO(lower_step=math.nan), "BAPO: lower_step=nan is not a finite number"),
        (lambda: BAPO(lower_start=0.0, upper_start=0.2), r"ratios \(0.8 and 1.2\), not widths"),
        (lambda: BAPO(lower_stop=1.2), "do not enclose a ratio of 1"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()
