"""Micro-batches: with a selection and the global count, the pieces of a batch add up to the whole."""

from __future__ import annotations

import itertools
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings, strategies as st
from plain_heads import fused_loss, gradients_of, logprobs_of, make_head as made

import entropylab as el
from entropylab.losses.interfaces import chooses_tokens

COUNTS = {
    "token_mean": lambda mask: int(mask.sum()),
    "seq_mean_token_mean": lambda mask: int((mask.sum(1) > 0).sum()),
    "seq_mean_token_sum": lambda mask: int((mask.sum(1) > 0).sum()),
    "token_sum": lambda mask: 100,
}
IDS = torch.tensor([31, 4, 2**45, -3, 12])
BY_ROW = ("hidden", "tokens", "old_logprobs", "advantages", "mask", "ref_hidden")
SHARED = ("weight", "bias", "ref_weight", "ref_bias")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def _piece(head, rows):
    part = {name: getattr(head, name)[rows] for name in BY_ROW}
    return SimpleNamespace(**part, **{name: getattr(head, name) for name in SHARED})


def _selections(head, surrogate, controls):
    def choose(control):
        return el.select_tokens(
            control,
            logprobs_of(head).detach(),
            head.old_logprobs,
            head.advantages,
            head.mask,
            surrogate=surrogate,
            sample_ids=IDS,
            seed=2,
            step=7,
        )

    return [choose(one) if chooses_tokens(one) else None for one in controls]


def _check(head, surrogate, control, reduction, pieces):
    controls = control if isinstance(control, list) else [] if control is None else [control]
    shared = {"reduction": reduction, "denominator": COUNTS[reduction](head.mask), "seed": 2, "step": 7}
    whole = fused_loss(head, surrogate, control, sample_ids=IDS, **shared)
    expected = gradients_of(head, whole.loss)
    selection = _selections(head, surrogate, controls)
    total, found = 0.0, [torch.zeros_like(one) for one in expected]
    selected = torch.zeros_like(head.mask)
    for rows in pieces:
        out = fused_loss(
            _piece(head, rows),
            surrogate,
            control,
            selection=selection if controls else None,
            sample_ids=IDS[rows],
            **shared,
        )
        total = total + out.loss.detach()
        selected[rows] = out.tokens["selected"]
        found = [a + b for a, b in zip(found, gradients_of(head, out.loss), strict=True)]
    assert torch.equal(selected, whole.tokens["selected"])
    torch.testing.assert_close(total, whole.loss.detach(), rtol=1e-11, atol=1e-13)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("reduction", ["token_mean", "seq_mean_token_mean"])
def test_rows_that_choose(selecting_method, reduction, make_head):
    head = make_head(5, seed=1)
    _check(head, selecting_method.surrogate, selecting_method.control, reduction, [[3], [0, 4, 1, 2]])


@pytest.mark.parametrize("control", [None, el.EntropyBonus(0.1), el.KLPenalty(0.1, "forward_kl")])
@pytest.mark.parametrize("reduction", COUNTS)
def test_rows_that_choose_nothing(control, reduction, make_head):
    head = make_head(5, seed=1)
    head.mask[2] = False
    _check(head, el.PPOClip(), control, reduction, [[4, 3], [2], [0, 1]])


SEQUENCES = (
    [el.ClipCov(fraction=0.1, low=0.1, high=9.0), el.KLCov(fraction=0.2, beta=0.5)],
    [el.EntropyBonus(0.1), el.ClipCov.top(0.2), el.KLCov.targeted(fraction=0.1)],
    [el.RandomClip(fraction=0.2), el.KLPenalty(0.1)],
)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 1000),
    control=st.sampled_from(SEQUENCES),
    reduction=st.sampled_from(list(COUNTS)),
    cuts=st.lists(st.integers(0, 5), max_size=3),
    order=st.permutations(range(5)),
)
def test_any_split(seed, control, reduction, cuts, order):
    bounds = [0, *sorted(cuts), 5]
    pieces = [order[a:b] for a, b in itertools.pairwise(bounds) if b > a]
    _check(made(5, 11, seed=seed), el.PPOClip(), control, reduction, pieces)


def test_a_piece_without_any_chosen_token(make_head, fused, agree):
    head = make_head(5, seed=1)
    (selection,) = _selections(head, el.PPOClip(), [el.ClipCov.top(0.01)])
    (row,) = {int(one) for one in selection.sample_ids[: int(selection.count)]}
    others = [i for i in range(5) if int(IDS[i]) != row]
    head.hidden = head.hidden.detach()
    part, ids = _piece(head, others), IDS[others]
    mine = fused(part, el.PPOClip(), el.ClipCov.top(0.01), selection=selection, sample_ids=ids)
    assert not mine.tokens["selected"].any()
    agree(head, mine, fused(part, el.PPOClip(), None))
