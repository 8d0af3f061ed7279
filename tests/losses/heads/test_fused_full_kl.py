"""Full divergences and callables in the fused loss: their gradients arrive, whatever graph they have."""

from __future__ import annotations

import pytest
import torch
from plain_heads import distribution, kl_of

import entropylab as el
from entropylab.errors import InvalidInputError, MissingInputError

DIRECTIONS = ("reverse_kl", "forward_kl")
SETTINGS = [{}, {"temperature": 0.5, "softcap": 2.0, "vocab_size": 9}]


def _cov(direction, weight="selected_mean"):
    return el.KLCov(count=6, divergence=direction, weight=weight, reference="ref")


def _controls(direction):
    return {
        "selected mean": _cov(direction),
        "token mean": _cov(direction, "token_mean"),
        "every token": el.KLPenalty(0.3, direction),
        "both": [el.KLPenalty(0.1, direction), _cov(direction)],
        "with a drop": [el.ClipCov.top(0.2), _cov(direction)],
        "then a drop": [_cov(direction, "token_mean"), el.ClipCov(fraction=0.3, select="top")],
    }


@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "all settings"])
@pytest.mark.parametrize("name", _controls("reverse_kl"))
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_from_hidden_of_the_reference(direction, name, settings, make_head, fused, exact, agree):
    head = make_head(seed=3)
    head.tokens = head.tokens % 9
    control = _controls(direction)[name]
    for reduction in ("token_mean", "seq_mean_token_sum"):
        shared = {"reduction": reduction, **settings}
        agree(head, *(f(head, el.PPOClip(), control, **shared) for f in (fused, exact.loss)), rtol=1e-9)


@pytest.mark.parametrize("control", [el.KLPenalty(0.2), el.KLPenalty(0.2, "k2"), el.LpReg(0.3)])
@pytest.mark.parametrize("settings", SETTINGS, ids=["plain", "all settings"])
def test_ref_logprobs_from_hidden(control, settings, make_head, fused, exact, agree):
    head = make_head(seed=3)
    head.tokens = head.tokens % 9
    agree(head, *(f(head, el.PPOClip(), control, **settings) for f in (fused, exact.loss)), rtol=1e-9)


@pytest.mark.parametrize("name", _controls("reverse_kl"))
def test_a_callable_with_a_graph_of_its_own(name, make_head, fused, exact, agree):
    """On other parameters, on the hidden states themselves, and on none."""
    head = make_head(seed=3)
    control = _controls("reverse_kl")[name]
    own = torch.randn(51, generator=torch.Generator().manual_seed(0), dtype=torch.float64).requires_grad_()
    kinds = {
        "other": lambda rows: own.square()[rows],
        "hidden": lambda rows: head.hidden.square().sum(-1).flatten()[rows] * own[rows],
        "none": lambda rows: torch.ones(len(rows), dtype=torch.float64),
        "a leaf": lambda rows: own if len(rows) == 51 else own[rows],
    }
    for full_kl in kinds.values():
        losses = [f(head, el.PPOClip(), control, full_kl=full_kl) for f in (fused, exact.loss)]
        mine, theirs = (
            torch.autograd.grad(x.loss, own, retain_graph=True, allow_unused=True)[0] for x in losses[::-1]
        )
        again = (f(head, el.PPOClip(), control, full_kl=full_kl) for f in (fused, exact.loss))
        agree(head, *again)
        assert (mine is None) == (theirs is None)
        if mine is not None:
            torch.testing.assert_close(mine, theirs)


def test_a_callable_beside_a_frozen_head(make_head, fused):
    head = make_head()
    for leaf in (head.hidden, head.weight, head.bias):
        leaf.requires_grad_(False)
    own = torch.ones(51, dtype=torch.float64, requires_grad=True)
    out = fused(head, el.PPOClip(), _cov("reverse_kl"), full_kl=lambda rows: own[rows])
    out.loss.backward()
    assert float(own.grad.sum()) == pytest.approx(1.0)
    assert int((own.grad > 0).sum()) == 6
    assert not fused(head, el.PPOClip(), None).loss.requires_grad


def test_a_full_kl_made_by_the_caller(make_head, fused, exact, agree):
    head = make_head(biased=False)
    full_kl = el.FullKL.from_hidden(head.hidden, head.weight, head.ref_hidden, head.ref_weight)
    mine = fused(head, el.PPOClip(), _cov("forward_kl"), full_kl=full_kl)
    agree(head, mine, exact.loss(head, el.PPOClip(), _cov("forward_kl")))
    two = el.FullKL.from_hidden(head.hidden[:2], head.weight, head.ref_hidden[:2], head.ref_weight)
    with pytest.raises(InvalidInputError, match=r"holds 34 positions, the batch \[3, 17\] has 51"):
        fused(head, el.PPOClip(), _cov("forward_kl"), full_kl=two)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_callable_that_is_not_finite(bad, make_head, fused, exact, agree):
    head = make_head()
    own = torch.ones(51, dtype=torch.float64, requires_grad=True)
    shared = {"full_kl": lambda rows: own[rows] * bad}
    with pytest.raises(InvalidInputError, match="full_kl is not finite at 6"):
        fused(head, el.PPOClip(), _cov("reverse_kl"), **shared)
    mine = fused(head, el.PPOClip(), _cov("reverse_kl"), validate=False, **shared)
    assert int(mine.metrics["entropylab/nonfinite"]) == 6
    agree(head, mine, fused(head, el.PPOClip(), None))


def test_a_divergence_of_zero_is_zero(make_head, fused):
    head = make_head()
    given = {"ref_hidden": head.hidden, "ref_weight": head.weight, "ref_bias": head.bias}
    for direction in DIRECTIONS:
        mine = fused(head, el.PPOClip(), el.KLPenalty(10.0, direction), **given)
        without = fused(head, el.PPOClip(), None)
        torch.testing.assert_close(mine.loss, without.loss, rtol=1e-12, atol=1e-14)


def test_the_reference_gets_no_gradient(make_head, fused):
    head = make_head()
    for name in ("ref_hidden", "ref_weight", "ref_bias"):
        getattr(head, name).requires_grad_()
    for control in (_cov("reverse_kl"), el.KLPenalty(0.1)):
        fused(head, el.PPOClip(), control).loss.backward()
    assert head.ref_hidden.grad is head.ref_weight.grad is head.ref_bias.grad is None


def test_what_is_missing(make_head, fused):
    head = make_head()
    for control, name in ((_cov("reverse_kl"), "full_kl"), (el.KLPenalty(0.1), "ref_logprobs")):
        with pytest.raises(MissingInputError, match=f"needs {name}: give {name}=, or ref_hidden="):
            fused(head, el.PPOClip(), control, ref_weight=None)
        with pytest.raises(MissingInputError, match="bias is given without ref_bias"):
            fused(head, el.PPOClip(), control, ref_bias=None)
        with pytest.raises(MissingInputError, match="ref_bias is given without bias"):
            fused(head, el.PPOClip(), control, bias=None)


def test_all_rows_in_chunks(make_head, fused, memory):
    head = make_head(4, 64, 8, 900, dtype=torch.float32, scale=0.3)
    with memory() as seen:
        fused(head, el.PPOClip(), el.KLPenalty(0.1, "reverse_kl"), chunk_rows=32).loss.backward()
    assert seen.largest <= 32 * 900


def test_both_directions_differ():
    """The plain formulas are not the same for both, so the tests above tell them apart."""
    g = torch.Generator().manual_seed(0)
    p, q = (distribution(torch.randn(4, 3, generator=g), torch.randn(9, 3, generator=g)) for _ in range(2))
    assert float((kl_of(p, q, "reverse_kl") - kl_of(p, q, "forward_kl")).abs().max()) > 0.01
