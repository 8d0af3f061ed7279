"""KL-Cov in all its forms against plain formulas, and where it does nothing."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from entropylab.errors import InvalidInputError, MissingInputError
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import REINFORCE, ImportanceSampling, PPOClip

SAMPLED = ("abs_logratio", "k1", "k2", "k3")
FULL = ("reverse_kl", "forward_kl")


def _agree(tokens, control, inputs, plain, surrogate=ImportanceSampling(), **keywords):  # noqa: B008
    positional, optional = inputs(tokens, control)
    out = policy_loss(*positional, surrogate=surrogate, control=control, **optional, **keywords)
    chosen = plain.chosen(control, tokens)
    assert torch.equal(out.tokens["selected"], chosen)
    expected = plain.loss(tokens, surrogate, control, chosen, **keywords)
    torch.testing.assert_close(out.loss, expected, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(
        plain.gradients(tokens, out.loss), plain.gradients(tokens, expected), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-15)
    return out


@pytest.mark.parametrize("covariance_on", ["current", "old"])
@pytest.mark.parametrize("reference", ["old", "ref"])
@pytest.mark.parametrize("weight", ["token_mean", "selected_mean"])
@pytest.mark.parametrize("divergence", SAMPLED + FULL)
def test_every_form_equals_the_plain_formula(
    make_tokens, inputs, plain, divergence, weight, reference, covariance_on
):
    control = KLCov(
        fraction=0.05,
        beta=0.7,
        divergence=divergence,
        weight=weight,
        reference=reference,
        covariance_on=covariance_on,
    )
    for surrogate in (REINFORCE(), ImportanceSampling(), PPOClip(0.1, 0.3)):
        _agree(make_tokens(6, 60, seed=8), control, inputs, plain, surrogate)


@pytest.mark.parametrize("reduction", ["token_mean", "seq_mean_token_mean", "seq_mean_token_sum"])
@pytest.mark.parametrize("divergence", ["abs_logratio", "reverse_kl"])
def test_token_mean_goes_through_the_reduction(make_tokens, inputs, plain, divergence, reduction):
    control = KLCov(fraction=0.1, divergence=divergence)
    _agree(make_tokens(6, 60), control, inputs, plain, reduction=reduction)


def test_selected_mean_is_not_changed_by_the_reduction(make_tokens, inputs, plain):
    control = KLCov.targeted(count=9, beta=2.0)
    for reduction in ("token_mean", "seq_mean_token_mean", "seq_mean_token_sum"):
        _agree(make_tokens(6, 60), control, inputs, plain, reduction=reduction)


@pytest.mark.parametrize("count", [1, 7, 10_000])
def test_a_count(make_tokens, inputs, plain, count):
    out = _agree(make_tokens(6, 60), KLCov(count=count), inputs, plain)
    n = int(torch.isfinite(out.tokens["covariance"]).sum())
    assert int(out.metrics["entropylab/selected/count"]) == min(count, n)


@pytest.mark.parametrize("dead_zone", [0.0, 0.2, 100.0])
@pytest.mark.parametrize("divergence", SAMPLED)
def test_dead_zone_counts_small_log_ratios_as_zero(make_tokens, inputs, plain, divergence, dead_zone):
    control = KLCov(fraction=0.2, divergence=divergence, dead_zone=dead_zone)
    _agree(make_tokens(6, 60), control, inputs, plain)


def test_dead_zone_takes_rounding_noise_away(make_tokens, inputs):
    tokens = make_tokens(6, 60, drift=0.0)
    with torch.no_grad():
        tokens.logprobs.add_(1e-7 * torch.randn_like(tokens.logprobs))

    def gradient(control):
        out = policy_loss(*inputs(tokens, None)[0], surrogate=ImportanceSampling(), control=control)
        return torch.autograd.grad(out.loss, tokens.logprobs)[0]

    without, noisy = gradient(None), gradient(KLCov(fraction=0.1))
    still = gradient(KLCov(fraction=0.1, dead_zone=1e-5))
    assert torch.equal(without, still)
    assert not torch.equal(without, noisy)


def test_on_policy_the_authors_penalty_has_no_gradient_and_the_full_one_has(make_tokens, inputs, plain):
    tokens = make_tokens(6, 60, drift=0.0)
    positional, _ = inputs(tokens, None)
    base = policy_loss(*positional, surrogate=ImportanceSampling())
    authors = policy_loss(*positional, surrogate=ImportanceSampling(), control=KLCov(fraction=0.1))
    assert torch.equal(*(torch.autograd.grad(x.loss, tokens.logprobs)[0] for x in (base, authors)))
    out = _agree(tokens, KLCov.targeted(fraction=0.1), inputs, plain)
    assert plain.gradients(tokens, out.loss)[2].abs().sum() > 0


def test_the_two_weights_differ_by_n_over_k(make_tokens, inputs):
    tokens = make_tokens(6, 60)
    positional, _ = inputs(tokens, None)
    n = int(tokens.mask.sum())
    base = policy_loss(*positional).loss
    mean, selected = (
        policy_loss(*positional, control=KLCov(count=10, weight=w)).loss - base
        for w in ("token_mean", "selected_mean")
    )
    assert float((selected / mean).detach()) == pytest.approx(n / 10)


def test_paper_and_targeted_forms():
    assert KLCov.paper("7B") == KLCov(fraction=2e-3, beta=1.0, divergence="abs_logratio", weight="token_mean")
    assert KLCov.paper("32B") == KLCov.paper("32b") == KLCov(fraction=2e-4)
    targeted = KLCov.targeted(count=50, beta=0.1)
    assert (targeted.count, targeted.beta, targeted.reference) == (50, 0.1, "ref")
    assert (targeted.divergence, targeted.weight) == ("reverse_kl", "selected_mean")
    with pytest.raises(InvalidInputError, match="not both"):
        KLCov.targeted(count=5, fraction=0.1)
    with pytest.raises(InvalidInputError, match=r"size='3B'.*7B, 32B"):
        KLCov.paper("3B")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fraction": 2.0}, "not a percentage"),
        ({"fraction": 0.0}, "fraction=0.0"),
        ({"fraction": True}, "fraction=True"),
        ({"fraction": "0.1"}, "fraction='0.1'"),
        ({"fraction": float("nan")}, "fraction=nan"),
        ({"count": 0}, "count=0"),
        ({"count": 2.5}, "count=2.5"),
        ({"beta": float("inf")}, "beta=inf"),
        ({"divergence": "kl"}, "divergence='kl'.*k3"),
        ({"weight": "mean"}, "weight='mean'.*selected_mean"),
        ({"reference": "initial"}, "reference='initial'.*old, ref"),
        ({"covariance_on": "ref"}, "covariance_on='ref'"),
        ({"dead_zone": -1e-3}, "dead_zone=-0.001"),
        ({"dead_zone": 1e-3, "divergence": "forward_kl"}, "dead_zone=0.001"),
        ({"minimum": -1}, "minimum=-1"),
    ],
)
def test_settings_refuse_nonsense(fields, message):
    with pytest.raises(InvalidInputError, match=message):
        KLCov(**fields)


def test_settings_are_frozen_and_compare_by_value():
    assert KLCov() == KLCov()
    with pytest.raises(dataclasses.FrozenInstanceError):
        KLCov().beta = 2.0


@pytest.mark.parametrize(
    ("control", "missing"),
    [(KLCov(reference="ref"), "ref_logprobs"), (KLCov.targeted(count=3), "full_kl")],
)
def test_a_missing_input_is_named(make_tokens, inputs, control, missing):
    positional, _ = inputs(make_tokens(), None)
    with pytest.raises(MissingInputError, match=f"KLCov needs {missing}="):
        policy_loss(*positional, control=control)
