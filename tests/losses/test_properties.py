"""What holds for any batch: order, padding and splits play no part, the scale of advantages a known one."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings, strategies as st

from entropylab.losses.collective import select_tokens
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.random_clip import RandomClip
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import REINFORCE, ImportanceSampling, PPOClip

CONTROLS = (
    ClipCov(fraction=0.1, low=0.2, high=6.0),
    ClipCov(fraction=0.1, select="top", action="detach"),
    KLCov(fraction=0.1),
    KLCov(count=3, divergence="k2", weight="selected_mean"),
    RandomClip(fraction=0.2),
)
SURROGATES = (PPOClip(), ImportanceSampling(), REINFORCE())
NAMES = ("logprobs", "old_logprobs", "advantages", "mask", "ids")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@st.composite
def batches(draw):
    """A batch of few distinct values, so that ties are common; one token at least is valid."""
    rows, length = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    levels = draw(st.sampled_from([1, 2, 4, 1000]))
    g = torch.Generator().manual_seed(draw(st.integers(0, 2**31)))

    def values(scale):
        return torch.randint(-levels, levels + 1, (rows, length), generator=g).double() * (scale / levels)

    old = values(2.0)
    mask = torch.rand(rows, length, generator=g) < draw(st.sampled_from([0.3, 0.9, 1.0]))
    mask[0, 0] = True
    ids = torch.randperm(1000, generator=g)[:rows] - 500
    return SimpleNamespace(
        logprobs=old + values(0.5), old_logprobs=old, advantages=values(2.0), mask=mask, ids=ids
    )


def _run(batch, control, surrogate, **keywords):
    leaf = batch.logprobs.clone().requires_grad_()
    out = policy_loss(
        leaf,
        batch.old_logprobs,
        batch.advantages,
        batch.mask,
        control=control,
        surrogate=surrogate,
        sample_ids=batch.ids,
        seed=5,
        step=2,
        **keywords,
    )
    out.loss.backward()
    return out, leaf.grad


def _rows(batch, rows):
    return SimpleNamespace(**{name: getattr(batch, name)[rows] for name in NAMES})


def _close(first, second):
    torch.testing.assert_close(first, second, rtol=1e-11, atol=1e-13)


SHARED = {"control": st.sampled_from(CONTROLS), "surrogate": st.sampled_from(SURROGATES)}


@settings(max_examples=50, deadline=None)
@given(batch=batches(), random=st.randoms(use_true_random=False), **SHARED)
def test_the_order_of_the_responses_plays_no_part(batch, random, control, surrogate):
    order = list(range(len(batch.ids)))
    random.shuffle(order)
    out, gradient = _run(batch, control, surrogate)
    other, turned = _run(_rows(batch, order), control, surrogate)
    assert torch.equal(other.tokens["selected"], out.tokens["selected"][order])
    _close(other.loss, out.loss)
    _close(turned, gradient[order])


@settings(max_examples=50, deadline=None)
@given(
    batch=batches(),
    more_rows=st.integers(0, 3),
    more_tokens=st.integers(0, 70),
    garbage=st.sampled_from([0.0, 7.0, float("nan"), float("inf"), -1e30]),
    **SHARED,
)
def test_padding_plays_no_part(batch, more_rows, more_tokens, garbage, control, surrogate):
    n, length = batch.mask.shape
    padded = {}
    for name in NAMES[:3]:
        padded[name] = torch.full((n + more_rows, length + more_tokens), garbage, dtype=torch.float64)
        padded[name][:n, :length] = getattr(batch, name)
    mask = torch.zeros(n + more_rows, length + more_tokens, dtype=torch.bool)
    mask[:n, :length] = batch.mask
    wide = SimpleNamespace(**padded, mask=mask, ids=torch.cat([batch.ids, 5000 + torch.arange(more_rows)]))
    out, gradient = _run(batch, control, surrogate)
    other, wider = _run(wide, control, surrogate)
    assert torch.equal(other.tokens["selected"][:n, :length], out.tokens["selected"])
    assert int(other.tokens["selected"].sum()) == int(out.tokens["selected"].sum())
    _close(other.loss, out.loss)
    _close(wider[:n, :length], gradient)
    assert int((wider != 0).sum()) == int((gradient != 0).sum())


@settings(max_examples=50, deadline=None)
@given(batch=batches(), cuts=st.lists(st.integers(0, 6), max_size=3), **SHARED)
def test_a_split_into_micro_batches_adds_up(batch, cuts, control, surrogate):
    n = len(batch.ids)
    bounds = [0, *sorted(min(cut, n) for cut in cuts), n]
    pieces = [_rows(batch, slice(a, b)) for a, b in itertools.pairwise(bounds)]
    columns = [[getattr(piece, name) for piece in pieces] for name in NAMES]
    made = select_tokens(
        control, *columns[:4], sample_ids=columns[4], surrogate=surrogate, seed=5, step=2, validate=False
    )
    out, gradient = _run(batch, control, surrogate)
    n_tokens = int(batch.mask.sum())
    parts = [_run(piece, control, surrogate, selection=made, denominator=n_tokens) for piece in pieces]
    assert torch.equal(torch.cat([part.tokens["selected"] for part, _ in parts]), out.tokens["selected"])
    _close(sum(part.loss for part, _ in parts), out.loss)
    _close(torch.cat([part for _, part in parts]), gradient)


@settings(max_examples=50, deadline=None)
@given(batch=batches(), power=st.integers(-6, 6), surrogate=st.sampled_from(SURROGATES))
def test_scaled_advantages_choose_the_same_top_and_scale_loss_and_gradient(batch, power, surrogate):
    """Powers of two scale every covariance exactly; a band scales with its bounds."""
    scale = 2.0**power
    scaled = SimpleNamespace(**{**vars(batch), "advantages": batch.advantages * scale})
    pairs = (
        (ClipCov(fraction=0.1, select="top"),) * 2,
        (
            ClipCov(fraction=0.1, low=0.25, high=4.0),
            ClipCov(fraction=0.1, low=0.25 * scale, high=4.0 * scale),
        ),
        (None, None),
    )
    for control, scaled_control in pairs:
        out, gradient = _run(batch, control, surrogate)
        other, larger = _run(scaled, scaled_control, surrogate)
        assert torch.equal(other.tokens["selected"], out.tokens["selected"])
        _close(other.loss, scale * out.loss)
        _close(larger, scale * gradient)
