"""The covariance of each token: against hand-made numbers, plain fp64 and exact arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch

from entropylab.errors import InvalidInputError
from entropylab.losses.covariance import token_covariance

NAN = float("nan")


def test_by_hand():
    logprobs = torch.tensor([[-1.0, -2.0, 9.0], [-3.0, 7.0, 7.0]])
    advantages = torch.tensor([[1.0, 1.0, 5.0], [-2.0, 0.0, 0.0]])
    mask = torch.tensor([[1, 1, 0], [1, 0, 0]])
    expected = torch.tensor([[1.0, 0.0, NAN], [2.0, NAN, NAN]])  # means -2 and 0
    torch.testing.assert_close(token_covariance(logprobs, advantages, mask), expected, equal_nan=True)


def test_mean_is_the_population_covariance(make_tokens):
    tokens = make_tokens(6, 50)
    covariance = token_covariance(tokens.logprobs, tokens.advantages, tokens.mask)
    l, a = tokens.logprobs.detach()[tokens.mask], tokens.advantages[tokens.mask]
    assert float(covariance[tokens.mask].mean()) == pytest.approx(np.cov(l, a, bias=True)[0, 1], rel=1e-12)
    assert not covariance.requires_grad


@pytest.mark.parametrize("rows", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e4, -1e4])
def test_offsets_keep_the_digits(offset, rows):
    rng = np.random.default_rng(0)
    logprobs = torch.from_numpy((offset + rng.normal(size=(16, 512))).astype(np.float32))
    advantages = torch.from_numpy((offset + rng.normal(size=(16,) if rows else (16, 512))).astype(np.float32))
    mask = torch.from_numpy(rng.random((16, 512)) < 0.8)
    got = token_covariance(logprobs, advantages, mask)[mask].double()
    l = logprobs[mask].double()
    a = (advantages.unsqueeze(1).expand(16, 512) if rows else advantages)[mask].double()
    exact_l = float(sum(map(Fraction, l.tolist()), Fraction(0)) / len(l))
    exact_a = float(sum(map(Fraction, a.tolist()), Fraction(0)) / len(a))
    exact = (l - exact_l) * (a - exact_a)
    torch.testing.assert_close(got, exact, rtol=2e-6, atol=2e-7)


def test_low_precision_and_gradients(make_tokens):
    tokens = make_tokens(4, 30)
    for dtype in (torch.bfloat16, torch.float16):
        got = token_covariance(tokens.logprobs.to(dtype), tokens.advantages, tokens.mask)
        assert got.dtype == torch.float32
    assert token_covariance(tokens.logprobs, tokens.advantages, tokens.mask).dtype == torch.float64


def test_values_outside_the_mask_play_no_part(make_tokens):
    tokens = make_tokens(4, 30)
    clean = token_covariance(tokens.logprobs, tokens.advantages, tokens.mask)
    dirty = tokens.logprobs.detach().masked_fill(~tokens.mask, NAN)
    worse = tokens.advantages.masked_fill(~tokens.mask, float("inf"))
    assert torch.equal(token_covariance(dirty, worse, tokens.mask).nan_to_num(), clean.nan_to_num())


def test_bad_values_are_named():
    logprobs, advantages, mask = torch.zeros(2, 3), torch.ones(2), torch.ones(2, 3)
    logprobs[1, 2] = -float("inf")
    with pytest.raises(InvalidInputError, match=r"logprobs\[1, 2\] is -inf inside the mask"):
        token_covariance(logprobs, advantages, mask)
    left_out = token_covariance(logprobs, advantages, mask, validate=False)
    assert torch.isnan(left_out[1, 2])
    assert torch.isfinite(left_out).sum() == 5
    with pytest.raises(InvalidInputError, match="mask is empty"):
        token_covariance(logprobs, advantages, torch.zeros(2, 3))
    assert torch.isnan(token_covariance(logprobs, advantages, torch.zeros(2, 3), validate=False)).all()
