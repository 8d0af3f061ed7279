"""Where the host must not look at values, as on a GPU: the same numbers, and nothing waits for the device."""

from __future__ import annotations

import pytest
import torch

import entropylab as el
from entropylab.losses.heads import inputs, rest, torch_rows

CONTROLS = {
    "none": None,
    "bonus": el.EntropyBonus(0.1),
    "one choice": el.ClipCov.top(0.2),
    "the same tokens twice": [el.ClipCov.top(0.2), el.KLCov(fraction=0.2, divergence="k2")],
    "fewer in the band than asked for": el.ClipCov(fraction=0.9, low=0.5, high=3.0),
    "a drop after a bonus": [el.EntropyBonus(0.1), el.ClipCov(fraction=0.2, select="top")],
    "full": el.KLCov.targeted(count=5),
    "every token in full": el.KLPenalty(0.1, "reverse_kl"),
    "batch": el.STEER(),
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def blind(monkeypatch):
    """No value may be looked at."""
    for module in (torch_rows, inputs, rest):
        monkeypatch.setattr(module, "may_look", lambda tensor: False)


@pytest.mark.parametrize("name", CONTROLS)
def test_the_same_loss_and_gradient(name, blind, make_head, fused, exact, agree):
    head = make_head()
    for surrogate in (el.PPOClip(), el.REINFORCE()):
        for reduction in ("token_mean", "seq_mean_token_mean"):
            shared = {"reduction": reduction, "validate": False}
            agree(head, *(f(head, surrogate, CONTROLS[name], **shared) for f in (fused, exact.loss)))


@pytest.mark.parametrize("name", CONTROLS)
def test_nothing_waits(name, blind, make_head, fused, no_host_sync):
    head = make_head()
    with no_host_sync():
        fused(head, el.PPOClip(), CONTROLS[name], validate=False).loss.backward()


@pytest.mark.parametrize("cache", [0, 1 << 30])
def test_statistics_and_op(cache, blind, make_head, gradients, no_host_sync):
    head = make_head()
    taken = torch.where(head.mask, head.tokens, -100)
    weights = head.advantages
    with no_host_sync():
        shared = {"bias": head.bias, "mask": head.mask, "validate": False}
        stats = el.token_stats(head.hidden, head.weight, taken, top=True, varentropy=True, **shared)
        logprobs, entropy = el.linear_logprob_entropy(
            head.hidden, head.weight, taken, cache_bytes=cache, **shared
        )
        found = gradients(head, (logprobs * weights + entropy).sum())
    every = el.linear_logprob_entropy(head.hidden, head.weight, head.tokens, bias=head.bias)
    inside = head.mask.double()
    expected = gradients(head, (inside * (every[0] * weights + every[1])).sum())
    torch.testing.assert_close(stats.logprobs, every[0].detach() * inside)
    torch.testing.assert_close(entropy.detach(), every[1].detach() * inside)
    assert stats.top_token.dtype == torch.int64
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("kind", ["label", "hidden", "old_logprobs", "advantages"])
@pytest.mark.parametrize("reduction", ["token_mean", "seq_mean_token_mean", "seq_mean_token_sum"])
def test_a_token_that_does_not_count_leaves_the_mean_of_the_others(kind, reduction, blind, make_head, fused):
    """Their gradients are made before the loss is known, so the count must be known before."""
    head, found = make_head(), []
    head.mask[1, 3], head.mask[2, 16] = True, False
    for counted in (True, False):
        if counted and kind == "label":
            head.tokens[1, 3] = -100
        elif counted:
            with torch.no_grad():
                getattr(head, kind)[1, 3] = float("nan")
        head.mask[1, 3] = counted
        loss = fused(head, el.REINFORCE(), el.EntropyBonus(0.1), reduction=reduction, validate=False).loss
        found.append([loss.detach(), *torch.autograd.grad(loss, (head.hidden, head.weight, head.bias))])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("name", ["bonus", "full", "every token in full", "batch"])
def test_states_outside_the_mask_reach_nothing(name, blind, make_head, fused, gradients):
    head = make_head()
    head.mask[2, 16] = False
    expected = gradients(head, fused(head, el.REINFORCE(), CONTROLS[name], validate=False).loss)
    with torch.no_grad():
        head.hidden[2, 16] = float("nan")
    head.tokens[2, 16] = -100
    found = gradients(head, fused(head, el.REINFORCE(), CONTROLS[name], validate=False).loss)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-14)


def test_a_selection_with_fillers(blind, make_head, fused, agree, exact):
    """Fillers stand at row 0, which may be chosen itself."""
    head = make_head(4, 9)
    ids = torch.tensor([7, 8, 9, 10])
    control = el.KLCov(fraction=0.9)
    selection = el.select_tokens(
        control, exact.logprobs(head).detach(), head.old_logprobs, head.advantages, head.mask, sample_ids=ids
    )
    part = type(head)(**vars(head))
    head.hidden = head.hidden.detach()
    for name in ("hidden", "tokens", "old_logprobs", "advantages", "mask", "ref_hidden"):
        setattr(part, name, getattr(head, name)[:2].clone())
    part.hidden.requires_grad_()
    shared = {"selection": selection, "sample_ids": ids[:2], "denominator": 30, "validate": False}
    agree(part, *(f(part, el.PPOClip(), control, **shared) for f in (fused, exact.loss)))
