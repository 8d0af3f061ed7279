"""What the loss used at each token is made when it is read, and is what the loss used."""

from __future__ import annotations

import pytest
import torch

from entropylab.errors import InvalidInputError
from entropylab.losses import blocks
from entropylab.losses.methods import METHODS
from entropylab.losses.policy_loss import policy_loss

EVERY_ROW = pytest.mark.parametrize("row", METHODS.values(), ids=lambda row: row.key)


@EVERY_ROW
def test_they_are_there_inside_the_mask_alone(row, make_tokens, run_method):
    tokens = make_tokens(6, 80, seed=4)
    out = run_method(tokens, row, validate=False)
    assert set(out.tokens) == {"covariance", "selected", "ratio", "clipped", "weight"}
    outside = ~tokens.mask
    for name in ("covariance", "ratio", "weight"):
        assert out.tokens[name].isnan()[outside].all()
        assert out.tokens[name].isfinite()[tokens.mask].all()
    for name in ("selected", "clipped"):
        assert not out.tokens[name][outside].any()


def test_they_are_made_once(make_tokens):
    tokens = make_tokens(3, 20)
    out = policy_loss(tokens.logprobs, tokens.old_logprobs, tokens.advantages, tokens.mask)
    assert out.tokens is out.tokens
    assert out.tokens["ratio"].grad_fn is None


@pytest.mark.parametrize("name", ["old_logprobs", "advantages", "mask"])
def test_an_input_changed_in_place_is_an_error(make_tokens, name):
    tokens = make_tokens(3, 20, dtype=torch.float32)
    columns = {x: getattr(tokens, x).detach().clone() for x in ("old_logprobs", "advantages", "mask")}
    out = policy_loss(tokens.logprobs, **columns, validate=False)
    columns[name].copy_(columns[name].flip(0))
    with pytest.raises(InvalidInputError, match=f"{name} was changed in place after policy_loss"):
        _ = out.tokens


def test_read_in_time_they_stay(make_tokens):
    tokens = make_tokens(3, 20, dtype=torch.float32)
    old = tokens.old_logprobs.clone()
    out = policy_loss(tokens.logprobs, old, tokens.advantages, tokens.mask)
    before = out.tokens["ratio"].clone()
    old.zero_()
    torch.testing.assert_close(out.tokens["ratio"], before, equal_nan=True, rtol=0, atol=0)


def test_within_inference_mode(make_tokens):
    tokens = make_tokens(3, 20)
    with torch.inference_mode():
        columns = [x.detach().clone() for x in (tokens.logprobs, tokens.old_logprobs, tokens.advantages)]
        out = policy_loss(*columns, tokens.mask)
    torch.testing.assert_close(
        out.tokens["ratio"][tokens.mask], (tokens.logprobs - tokens.old_logprobs).exp()[tokens.mask].detach()
    )


def test_a_batch_of_many_blocks(make_tokens, monkeypatch):
    tokens = make_tokens(7, 90, seed=1)
    columns = (tokens.logprobs, tokens.old_logprobs, tokens.advantages, tokens.mask)
    whole = policy_loss(*columns, control=METHODS["clip_cov_top"].control, validate=False)
    monkeypatch.setattr(blocks, "BLOCK_TOKENS", 180)
    parts = policy_loss(*columns, control=METHODS["clip_cov_top"].control, validate=False)
    for name, value in whole.tokens.items():
        torch.testing.assert_close(parts.tokens[name], value, equal_nan=True, rtol=0, atol=0)
