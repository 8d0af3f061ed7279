"""The autograd op: values and gradients of log-probability and entropy, with logits made again or kept."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings, strategies as st
from plain_heads import distribution, entropy_of, make_head as made

import entropylab as el

KEPT = {"made again": 0, "kept": 1 << 30}
SETTINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 3.0},
    {"softcap": 1.5},
    {"vocab_size": 9},
    {"temperature": 0.7, "softcap": 4.0, "vocab_size": 10},
]


def _sum(logprobs, entropy, seed=0):
    """A loss that uses both at every position, and some not at all."""
    g = torch.Generator().manual_seed(seed)
    weights = torch.randn(2, *logprobs.shape, generator=g, dtype=logprobs.dtype)
    weights[:, ..., ::3] = 0
    return (weights[0] * logprobs).sum() + (weights[1] * entropy).sum()


def _plain(head, **keywords):
    log_p = distribution(head.hidden, head.weight, head.bias, **keywords)
    return log_p.gather(-1, head.tokens.unsqueeze(-1))[..., 0], entropy_of(log_p)


def _op(head, **keywords):
    keywords = {"chunk_rows": 16, **keywords}
    return el.linear_logprob_entropy(head.hidden, head.weight, head.tokens, bias=head.bias, **keywords)


@pytest.mark.parametrize("cache", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("keywords", SETTINGS)
def test_equals_all_logits(keywords, biased, cache, make_head, gradients):
    head = make_head(biased=biased)
    head.tokens = head.tokens % 9
    for mask in (None, head.mask, torch.ones_like(head.mask)):
        mine = _op(head, cache_bytes=cache, mask=mask, **keywords)
        theirs = _plain(head, **keywords)
        if mask is not None:
            theirs = tuple(torch.where(mask, one, 0.0) for one in theirs)
        for one, other in zip(mine, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
        pairs = zip(gradients(head, _sum(*mine)), gradients(head, _sum(*theirs)), strict=True)
        for one, other in pairs:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1, 1), (1, 7, 3, 7), (2, 9, 4, 2), (5, 3, 8, 40), (3, 0, 4, 9)]),
    chunk_rows=st.integers(1, 20),
    temperature=st.floats(0.2, 5.0),
    cache=st.sampled_from([0, 1 << 30]),
    scale=st.sampled_from([0.0, 1.0, 10.0]),
    seed=st.integers(0, 1000),
)
def test_any_shape_chunk_and_scale(shape, chunk_rows, temperature, cache, scale, seed):
    head = made(*shape, seed=seed, scale=scale)
    mine = _op(head, temperature=temperature, cache_bytes=cache, chunk_rows=chunk_rows)
    theirs = _plain(head, temperature=temperature)
    leaves = (head.hidden, head.weight, head.bias)
    pairs = zip(*(torch.autograd.grad(_sum(*x, seed), leaves) for x in (mine, theirs)), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize("used", [0, 1])
@pytest.mark.parametrize("cache", KEPT.values(), ids=KEPT)
def test_one_of_both_results_alone(used, cache, make_head, gradients):
    head = make_head()
    mine, theirs = _op(head, cache_bytes=cache)[used].sum(), _plain(head)[used].sum()
    for one, other in zip(gradients(head, mine), gradients(head, theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("cache", KEPT.values(), ids=KEPT)
def test_gradcheck(cache, make_head):
    head = make_head(2, 5, 3, 6)

    def call(hidden, weight, bias):
        return el.linear_logprob_entropy(
            hidden,
            weight,
            head.tokens,
            bias=bias,
            temperature=0.8,
            softcap=None if cache else 3.0,
            mask=head.mask,
            cache_bytes=cache,
            chunk_rows=4,
        )

    assert torch.autograd.gradcheck(call, (head.hidden, head.weight, head.bias))


@pytest.mark.parametrize("cache", KEPT.values(), ids=KEPT)
def test_backward_again_and_the_second_derivative(cache, make_head):
    head = make_head()
    loss = _sum(*_op(head, cache_bytes=cache))
    first = torch.autograd.grad(loss, head.hidden, retain_graph=True)[0]
    assert torch.equal(first, torch.autograd.grad(loss, head.hidden, retain_graph=True)[0])
    (gradient,) = torch.autograd.grad(loss.square(), head.hidden, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    "frozen", [("hidden",), ("weight",), ("bias",), ("hidden", "bias"), ("weight", "bias")]
)
@pytest.mark.parametrize("cache", KEPT.values(), ids=KEPT)
def test_frozen_parts(frozen, cache, make_head, gradients):
    head = make_head()
    for name in frozen:
        getattr(head, name).requires_grad_(False)
    mine, theirs = gradients(head, _sum(*_op(head, cache_bytes=cache))), gradients(head, _sum(*_plain(head)))
    assert len(mine) == 3 - len(frozen)
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_without_gradient(make_head, memory):
    head = make_head(4, 64, 5, 500)
    for name in ("no_grad", "nothing requires it"):
        if name != "no_grad":
            for leaf in (head.hidden, head.weight, head.bias):
                leaf.requires_grad_(False)
        with torch.set_grad_enabled(name != "no_grad"), memory() as seen:
            logprobs, entropy = _op(head, cache_bytes=1 << 30)
        assert not logprobs.requires_grad
        assert not entropy.requires_grad
        assert seen.largest <= 16 * 500


def test_a_tied_embedding_sums_both_gradients(make_head):
    head = make_head()
    found = []
    for call in (lambda h, w: _sum(*el.linear_logprob_entropy(h, w, head.tokens)), None):
        table = head.weight.detach().clone().requires_grad_()
        hidden = torch.tanh(table[head.tokens.roll(1, 1)] + head.hidden.detach())
        if call is None:
            log_p = distribution(hidden, table)
            loss = _sum(log_p.gather(-1, head.tokens.unsqueeze(-1))[..., 0], entropy_of(log_p))
        else:
            loss = call(hidden, table)
        loss.backward()
        found.append(table.grad)
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-12)


def test_other_losses_on_its_results(make_head, gradients):
    """Nonlinear functions of both, as supervised and distilling losses have them."""
    head = make_head()

    def loss(logprobs, entropy):
        return (logprobs.exp() * entropy).mean() + (entropy - 1.0).square().mean() - logprobs.mean()

    mine, theirs = (gradients(head, loss(*x)) for x in (_op(head), _plain(head)))
    for one, other in zip(mine, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
