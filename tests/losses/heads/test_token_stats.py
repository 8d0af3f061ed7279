"""Statistics of the policy equal those of all logits."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from plain_heads import distribution, entropy_of, make_head as made

import entropylab as el

SETTINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 3.0},
    {"softcap": 1.5},
    {"vocab_size": 9},
    {"temperature": 0.7, "softcap": 4.0, "vocab_size": 10},
]


def _check(head, exact, *, mask=None, chunk_rows=16, **keywords):
    log_p = exact.distribution(head.hidden, head.weight, head.bias, **keywords).detach()
    head.tokens = head.tokens % log_p.shape[-1]
    got = el.token_stats(
        head.hidden,
        head.weight,
        head.tokens,
        bias=head.bias,
        mask=mask,
        top=True,
        varentropy=True,
        chunk_rows=chunk_rows,
        **keywords,
    )
    entropy = exact.entropy(log_p)
    plain = {"temperature": 1.0, "softcap": None, "vocab_size": None} | keywords
    logits = head.hidden @ head.weight.T + (0.0 if head.bias is None else head.bias)
    if plain["softcap"]:
        logits = plain["softcap"] * torch.tanh(logits / plain["softcap"])
    highest, top = log_p.max(-1)
    expected = {
        "logprobs": log_p.gather(-1, head.tokens.unsqueeze(-1))[..., 0],
        "entropy": entropy,
        "logsumexp": (logits / plain["temperature"])[..., : plain["vocab_size"]].detach().logsumexp(-1),
        "top_logprob": highest,
        "top_token": top,
        "varentropy": (log_p.exp() * (log_p + entropy.unsqueeze(-1)).square()).sum(-1),
    }
    inside = torch.ones_like(head.mask) if mask is None else mask.bool()
    for name, value in expected.items():
        value = torch.where(inside, value, torch.zeros_like(value))
        torch.testing.assert_close(getattr(got, name), value, rtol=1e-10, atol=1e-11, msg=name)
    assert not got.logprobs.requires_grad


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("keywords", SETTINGS)
def test_equal_all_logits(keywords, biased, make_head, exact):
    head = make_head(biased=biased)
    _check(head, exact, **keywords)
    _check(head, exact, mask=head.mask, **keywords)
    _check(head, exact, mask=torch.ones_like(head.mask).float(), **keywords)


@settings(max_examples=40, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1, 1), (1, 7, 3, 7), (2, 9, 4, 2), (5, 3, 8, 40), (3, 0, 4, 9)]),
    chunk_rows=st.integers(1, 20),
    temperature=st.floats(0.2, 5.0),
    softcap=st.one_of(st.none(), st.floats(0.5, 50.0)),
    scale=st.sampled_from([0.0, 0.1, 1.0, 10.0]),
    seed=st.integers(0, 1000),
)
def test_any_shape_chunk_and_scale(shape, chunk_rows, temperature, softcap, scale, seed):
    head = made(*shape, seed=seed, scale=scale)
    got = el.token_stats(
        head.hidden,
        head.weight,
        head.tokens,
        bias=head.bias,
        temperature=temperature,
        softcap=softcap,
        chunk_rows=chunk_rows,
    )
    log_p = distribution(head.hidden, head.weight, head.bias, temperature=temperature, softcap=softcap)
    taken = log_p.gather(-1, head.tokens.unsqueeze(-1))[..., 0]
    torch.testing.assert_close(got.logprobs, taken.detach(), rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(got.entropy, entropy_of(log_p).detach(), rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("shape", [(6,), (2, 3), (1, 2, 3)])
def test_any_number_of_dimensions(shape, make_head):
    head = make_head(1, 6)
    flat = el.token_stats(head.hidden, head.weight, head.tokens)
    got = el.token_stats(head.hidden.reshape(*shape, 5), head.weight, head.tokens.reshape(shape).int())
    assert got.entropy.shape == shape
    assert torch.equal(got.logprobs.flatten(), flat.logprobs.flatten())


def test_layouts_in_memory(make_head):
    """Slices and transposes of hidden states and heads."""
    head = make_head(2, 9)
    wide = torch.cat([head.hidden, head.hidden], 1)
    turned = head.hidden.transpose(1, 2).contiguous().transpose(1, 2)
    weight = head.weight.T.contiguous().T
    whole = el.token_stats(head.hidden, head.weight, head.tokens)
    for hidden in (wide[:, :9], turned):
        got = el.token_stats(hidden, weight, head.tokens)
        torch.testing.assert_close(got.logprobs, whole.logprobs)


def test_ties_of_the_top_go_to_one_of_them(make_head):
    head = make_head(1, 4, biased=False)
    got = el.token_stats(head.hidden, torch.zeros_like(head.weight), head.tokens, top=True, varentropy=True)
    torch.testing.assert_close(got.top_logprob, got.logprobs)
    assert bool((got.top_token < 13).all())
    assert got.top_token.dtype == torch.int64
    torch.testing.assert_close(got.varentropy, torch.zeros_like(got.entropy), atol=1e-14, rtol=0)


def test_what_was_not_asked_for_is_none(make_head):
    head = make_head(1, 4)
    got = el.token_stats(head.hidden, head.weight, head.tokens)
    assert got.top_token is got.top_logprob is got.varentropy is None
