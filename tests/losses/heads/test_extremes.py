"""Logits far out: huge, all equal, one dominating, strongly negative; hot, cold and capped."""

from __future__ import annotations

import pytest
import torch

import entropylab as el


def _logits(kind, n, vocabulary):
    """[n, V]."""
    g = torch.Generator().manual_seed(0)
    normal = torch.randn(n, vocabulary, generator=g, dtype=torch.float64)
    return {
        "plus and minus 80": 80.0 * normal.sign(),
        "up to 80": 80.0 * torch.tanh(normal),
        "one dominating": normal + 60.0 * torch.eye(vocabulary, dtype=torch.float64)[torch.arange(n) % 7],
        "all equal": torch.full_like(normal, 3.0),
        "strongly negative": normal - 1e4,
        "far apart": 1e4 * normal,
        "zero": torch.zeros_like(normal),
    }[kind]


KINDS = (
    "plus and minus 80",
    "up to 80",
    "one dominating",
    "all equal",
    "strongly negative",
    "far apart",
    "zero",
)


def _head(kind, make_head, dtype):
    """Hidden states are the logits, and the head is the identity."""
    head = make_head(2, 15, 30, 30, biased=False, dtype=dtype)
    head.hidden = _logits(kind, 30, 30).view(2, 15, 30).to(dtype).requires_grad_()
    head.weight = torch.eye(30, dtype=dtype).requires_grad_()
    head.ref_hidden, head.ref_weight = head.hidden.detach() + 0.1, head.weight.detach()
    return head


SETTINGS = [
    {},
    {"temperature": 0.3},
    {"temperature": 3.0},
    {"softcap": 30.0},
    {"softcap": 5.0, "temperature": 0.3},
]


def _tolerance(head, *, temperature=1.0, softcap=None):
    """Of fp64, or that of logits in fp32: their differences are exact until they are rescaled."""
    if head.hidden.dtype == torch.float64:
        return {"rtol": 1e-10, "atol": 1e-9}
    logits = head.hidden.detach().double()
    if temperature == 1.0 and softcap is None:
        size = (logits.amax(-1) - logits.amin(-1)).max()
    else:
        size = logits.abs().max() / temperature
    return {"rtol": 3e-6, "atol": 3e-6 + 3e-7 * float(size), "check_dtype": False}


def _statistics(log_p, tokens):
    entropy = -(log_p.exp() * log_p).sum(-1)
    spread = (log_p.exp() * (log_p + entropy.unsqueeze(-1)).square()).sum(-1)
    taken = log_p.gather(-1, tokens.unsqueeze(-1))[..., 0]
    return {"logprobs": taken, "entropy": entropy, "top_logprob": log_p.amax(-1), "varentropy": spread}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_statistics_and_op(kind, settings, dtype, make_head, exact):
    head = _head(kind, make_head, dtype)
    shared = {"chunk_rows": 7, **settings}
    close = _tolerance(head, **settings)
    expected = _statistics(exact.distribution(head.hidden, head.weight, **settings), head.tokens)
    stats = el.token_stats(head.hidden, head.weight, head.tokens, top=True, varentropy=True, **shared)
    for name, value in expected.items():
        torch.testing.assert_close(getattr(stats, name), value.detach(), **close)
    gradient = torch.autograd.grad((expected["logprobs"] * 0.3 + expected["entropy"]).sum(), head.hidden)[0]
    for cache in (0, 1 << 30):
        logprobs, entropy = el.linear_logprob_entropy(
            head.hidden, head.weight, head.tokens, cache_bytes=cache, **shared
        )
        (found,) = torch.autograd.grad((logprobs * 0.3 + entropy).sum(), head.hidden)
        torch.testing.assert_close(found, gradient, **close)


CONTROLS = (el.EntropyBonus(0.1), el.KLCov(fraction=0.2), el.KLPenalty(0.1, "reverse_kl"))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("kind", KINDS)
def test_fused_loss(kind, settings, make_head, fused, exact, agree):
    head = _head(kind, make_head, torch.float64)
    for control in CONTROLS:
        losses = [f(head, el.PPOClip(), control, **settings) for f in (fused, exact.loss)]
        assert bool(losses[0].loss.isfinite())
        agree(head, *losses, rtol=1e-8, atol=1e-14 * max(1e4, float(losses[1].loss.abs())))


def test_logits_that_no_shift_is_taken_from_would_overflow(make_head):
    """exp(1e4) overflows and exp(-1e4) vanishes; the entropy is known all the same."""
    weight = torch.tensor([[1.0], [1.0], [0.0]])
    for sign, expected in ((1.0, torch.log(torch.tensor(2.0))), (-1.0, torch.tensor(0.0))):
        hidden = torch.full((1, 1), sign * 1e4)
        got = el.token_stats(hidden, weight, torch.zeros(1, dtype=torch.int64))
        torch.testing.assert_close(got.entropy[0], expected)
