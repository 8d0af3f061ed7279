"""Inputs of few digits: statistics and gradients are those of fp64 on the same inputs, autocast included."""

from __future__ import annotations

import pytest
import torch

import entropylab as el

LOW = (torch.bfloat16, torch.float16)
DLOGP, DH, DGRAD = 2e-5, 5e-5, 2e-3
"""Bounds at logits up to 16: of log-probability, entropy and gradients."""


def _batch(make_head, dtype, scale=0.5, seed=0):
    """Logits up to about 16, tokens of the policy itself."""
    head = make_head(4, 64, 48, 700, dtype=dtype, scale=scale, seed=seed, biased=False)
    logits = head.hidden.detach().double() @ head.weight.detach().double().T
    g = torch.Generator().manual_seed(seed)
    head.tokens = torch.multinomial(logits.softmax(-1).flatten(0, 1), 1, generator=g).view(4, 64)
    return head


def _distance(found, expected):
    return float((found.double() - expected).norm() / expected.norm())


def _wide_gradients(call, head):
    """Gradients before they are rounded to the dtype of the inputs, and those of fp64."""
    wide = [head.hidden.detach().double().requires_grad_(), head.weight.detach().double().requires_grad_()]
    return torch.autograd.grad(call(*wide), wide)


@pytest.mark.parametrize("scale", [0.05, 0.3, 0.5])
@pytest.mark.parametrize("dtype", LOW)
def test_statistics(dtype, scale, make_head, exact):
    head = _batch(make_head, dtype, scale)
    log_p = exact.distribution(head.hidden, head.weight).detach()
    got = el.token_stats(head.hidden, head.weight, head.tokens, top=True)
    taken = log_p.gather(-1, head.tokens.unsqueeze(-1))[..., 0]
    assert got.logprobs.dtype == got.entropy.dtype == torch.float32
    assert float((got.logprobs - taken).abs().max()) <= DLOGP
    assert float((got.top_logprob - log_p.amax(-1)).abs().max()) <= DLOGP
    assert float((got.entropy - exact.entropy(log_p)).abs().max()) <= DH


@pytest.mark.parametrize("scale", [0.3, 4.0])
def test_entropy_of_a_large_vocabulary(scale, exact):
    """A sum of 151,936 terms that rounds at each of them would be wrong by 1e-3."""
    logits = scale * torch.randn(16, 151_936, generator=torch.Generator().manual_seed(0))
    hidden = torch.eye(16)
    got = el.token_stats(hidden, logits.T.contiguous(), torch.zeros(16, dtype=torch.int64), varentropy=True)
    log_p = logits.double().log_softmax(-1)
    entropy = exact.entropy(log_p)
    assert float((got.entropy - entropy).abs().max()) <= DH / 5
    spread = (log_p.exp() * (log_p + entropy.unsqueeze(-1)).square()).sum(-1)
    torch.testing.assert_close(got.varentropy.double(), spread, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("cache", [0, 1 << 30], ids=["made again", "kept"])
@pytest.mark.parametrize("scale", [0.05, 0.5, 2.0])
@pytest.mark.parametrize("dtype", [*LOW, torch.float32])
def test_gradients_of_the_op(dtype, scale, cache, make_head, exact):
    """Also where the policy is nearly certain (scale 2), so that 1 - p has few digits left."""
    head = _batch(make_head, dtype, scale)
    g = torch.Generator().manual_seed(2)
    by_logprob, by_entropy = torch.randn(2, 4, 64, generator=g)

    def plain(hidden, weight):
        log_p = exact.distribution(hidden, weight)
        taken = log_p.gather(-1, head.tokens.unsqueeze(-1))[..., 0]
        return (taken * by_logprob).sum() + (exact.entropy(log_p) * 0.3 * by_entropy).sum()

    logprobs, entropy = el.linear_logprob_entropy(head.hidden, head.weight, head.tokens, cache_bytes=cache)
    loss = (logprobs * by_logprob).sum() + (entropy * 0.3 * by_entropy).sum()
    found = torch.autograd.grad(loss, (head.hidden, head.weight))
    bound = 2e-6 * max(1.0, scale / 0.1) if dtype == torch.float32 else DGRAD
    for one, other in zip(found, _wide_gradients(plain, head), strict=True):
        assert one.dtype == dtype
        assert _distance(one, other) <= bound


CONTROLS = (None, el.EntropyBonus(0.1), [el.ClipCov.top(0.1), el.KLCov(fraction=0.1)], el.STEER())


@pytest.mark.parametrize("dtype", [*LOW, torch.float32])
@pytest.mark.parametrize("control", CONTROLS, ids=["none", "bonus", "chosen", "batch"])
def test_fused_loss(control, dtype, make_head, fused, exact, gradients):
    """Against fp64, with a surrogate without a bound that few digits could cross."""
    head = _batch(make_head, dtype)
    head.old_logprobs = exact.logprobs(head).detach() + 0.1 * head.advantages
    mine, theirs = (f(head, el.ImportanceSampling(), control) for f in (fused, exact.loss))
    assert mine.loss.dtype == torch.float32
    torch.testing.assert_close(mine.loss.double(), theirs.loss, rtol=2e-5, atol=2e-6)
    wide = type(head)(**vars(head))
    wide.hidden, wide.weight = (x.detach().double().requires_grad_() for x in (head.hidden, head.weight))
    expected = gradients(wide, exact.loss(wide, el.ImportanceSampling(), control).loss)
    bound = 1e-5 if dtype == torch.float32 else DGRAD
    for one, other in zip(gradients(head, mine.loss), expected, strict=True):
        assert _distance(one, other) <= bound


@pytest.mark.parametrize("cache", [0, 1 << 30], ids=["made again", "kept"])
def test_autocast_rounds_inputs_and_no_logits(cache, make_head, gradients):
    """Bit for bit as if the inputs were given in bf16, backward inside autocast included."""
    head = _batch(make_head, torch.float32)
    low = type(head)(**vars(head))
    low.hidden, low.weight = (x.detach().bfloat16().requires_grad_() for x in (head.hidden, head.weight))
    shared = {"cache_bytes": cache}
    expected = el.linear_logprob_entropy(low.hidden, low.weight, head.tokens, **shared)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = el.linear_logprob_entropy(head.hidden, head.weight, head.tokens, **shared)
        stats = el.token_stats(head.hidden, head.weight, head.tokens)
        found = gradients(head, got[0].mean() - got[1].mean())
    assert got[0].dtype == got[1].dtype == torch.float32
    assert torch.equal(got[0], expected[0])
    assert torch.equal(got[1], expected[1])
    assert torch.equal(stats.logprobs, got[0])
    assert torch.equal(stats.entropy, got[1])
    for one, other in zip(found, gradients(low, expected[0].mean() - expected[1].mean()), strict=True):
        assert one.dtype == torch.float32
        assert torch.equal(one, other.float())


@pytest.mark.parametrize("name", ["bonus", "reference", "full"])
def test_autocast_of_the_fused_loss(name, make_head, fused, gradients):
    control = {
        "bonus": [el.EntropyBonus(0.1), el.ClipCov.top(0.1)],
        "reference": el.KLPenalty(0.1),
        "full": el.KLCov.targeted(count=9),
    }[name]
    head = _batch(make_head, torch.float32)
    low = type(head)(**vars(head))
    low.hidden, low.weight = (x.detach().bfloat16().requires_grad_() for x in (head.hidden, head.weight))
    low.ref_hidden, low.ref_weight = head.ref_hidden.bfloat16(), head.ref_weight.bfloat16()
    expected = fused(low, el.PPOClip(), control)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = fused(head, el.PPOClip(), control)
    assert torch.equal(got.loss, expected.loss)
    for one, other in zip(gradients(head, got.loss), gradients(low, expected.loss), strict=True):
        torch.testing.assert_close(one, other.float())


def test_autocast_leaves_fp64_alone(make_head):
    head = make_head()
    expected = el.token_stats(head.hidden, head.weight, head.tokens)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = el.token_stats(head.hidden, head.weight, head.tokens)
    assert torch.equal(got.entropy, expected.entropy)
    assert got.entropy.dtype == torch.float64


def test_dtypes_that_differ(make_head, exact):
    """A head of fewer digits than the states, and the other way round."""
    for states, weight in ((torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)):
        head = make_head(dtype=torch.float32)
        head.hidden, head.weight = head.hidden.detach().to(states), head.weight.detach().to(weight)
        head.hidden.requires_grad_()
        got, _ = el.linear_logprob_entropy(head.hidden, head.weight, head.tokens, bias=head.bias)
        torch.testing.assert_close(got.double(), exact.logprobs(head), rtol=1e-5, atol=DLOGP)
        got.sum().backward()
        assert head.hidden.grad.dtype == states
