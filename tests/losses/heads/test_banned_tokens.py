"""A bias of -inf bans a token: as if its row of the weight were not there, whatever works on the rows."""

from __future__ import annotations

import pytest
import torch
from plain_heads import make_head

import entropylab as el
from entropylab.errors import InvalidInputError

BANNED = [2, 7, 12]
KEPT = [i for i in range(13) if i not in BANNED]


def _pair(dtype):
    """(a head with banned tokens, the head without their rows), both of tokens that are not banned."""
    whole, short = make_head(dtype=dtype), make_head(dtype=dtype)
    whole.tokens = torch.tensor(KEPT)[whole.tokens % len(KEPT)]
    short.tokens = short.tokens % len(KEPT)
    with torch.no_grad():
        whole.bias[BANNED] = -torch.inf
    short.weight = whole.weight.detach()[KEPT].requires_grad_()
    short.bias = whole.bias.detach()[KEPT].requires_grad_()
    return whole, short


def _loss(head, cache):
    given = {"bias": head.bias, "cache_bytes": cache}
    logprobs, entropy = el.linear_logprob_entropy(head.hidden, head.weight, head.tokens, **given)
    return (logprobs * head.advantages + 0.3 * entropy)[head.mask].sum()


@pytest.mark.quick("*-torch")
@pytest.mark.parametrize("kernels", ["torch", "compiled"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_statistics_are_those_without_the_rows(dtype, kernels, monkeypatch):
    monkeypatch.setenv("ENTROPYLAB_ROW_KERNELS", kernels)
    whole, short = _pair(dtype)
    found, expected = (
        el.token_stats(h.hidden, h.weight, h.tokens, bias=h.bias, top=True, varentropy=True)
        for h in (whole, short)
    )
    for name in ("logprobs", "entropy", "logsumexp", "top_logprob", "varentropy"):
        torch.testing.assert_close(getattr(found, name), getattr(expected, name), msg=name)
    assert torch.equal(found.top_token, torch.tensor(KEPT)[expected.top_token])


@pytest.mark.parametrize("cache", [0, 1 << 20])
def test_gradients_are_those_without_the_rows(cache):
    whole, short = _pair(torch.float64)
    for head in (whole, short):
        _loss(head, cache).backward()
    torch.testing.assert_close(whole.hidden.grad, short.hidden.grad)
    torch.testing.assert_close(whole.weight.grad[KEPT], short.weight.grad)
    assert not whole.weight.grad[BANNED].any()
    assert not whole.bias.grad[BANNED].any()


def test_the_fused_loss_is_that_without_the_rows():
    whole, short = _pair(torch.float64)
    for head in (whole, short):
        given = (head.old_logprobs, head.advantages, head.mask)
        control = [el.EntropyBonus(0.01), el.KLCov.paper("7B")]
        head.out = el.fused_policy_loss(
            head.hidden, head.weight, head.tokens, *given, control=control, bias=head.bias
        )
        head.out.loss.backward()
    torch.testing.assert_close(whole.out.loss, short.out.loss)
    torch.testing.assert_close(whole.hidden.grad, short.hidden.grad)


def test_a_banned_token_that_was_sampled_has_probability_0_and_is_named():
    whole, _ = _pair(torch.float32)
    whole.tokens[0, 0], whole.mask[0, 0] = BANNED[0], True
    found = el.token_stats(whole.hidden, whole.weight, whole.tokens, bias=whole.bias)
    assert found.logprobs[0, 0] == -torch.inf
    assert found.logprobs.isinf().sum() == 1
    given = (whole.old_logprobs, whole.advantages, whole.mask)
    with pytest.raises(InvalidInputError, match=r"logprobs.*\[0, 0\].*-inf"):
        el.fused_policy_loss(whole.hidden, whole.weight, whole.tokens, *given, bias=whole.bias, validate=True)
