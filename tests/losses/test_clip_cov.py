"""Clip-Cov, its placebo and the traditional controls: actions, candidates, order."""

from __future__ import annotations

import pytest
import torch

from entropylab.errors import InvalidInputError, MissingInputError
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.entropy_bonus import EntropyBonus
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.kl_penalty import KLPenalty
from entropylab.losses.controls.random_clip import RandomClip
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import REINFORCE, ImportanceSampling, PPOClip


@pytest.fixture
def tokens(make_tokens):
    return make_tokens(8, 120, seed=4)


@pytest.fixture
def run(tokens, inputs):
    def call(control, **keywords):
        positional, optional = inputs(tokens, control)
        return policy_loss(*positional, control=control, **optional, **keywords)

    return call


def _gradient(out, tokens):
    return torch.autograd.grad(out.loss, tokens.logprobs, retain_graph=True)[0]


@pytest.mark.parametrize("control", [ClipCov(fraction=0.1, select="top"), RandomClip(fraction=0.1)])
@pytest.mark.parametrize("surrogate", [REINFORCE(), ImportanceSampling(), PPOClip()])
def test_detach_keeps_the_value_and_zero_drops_it(tokens, run, control, surrogate):
    base = run(None, surrogate=surrogate)
    zero = run(type(control)(**{**vars(control), "action": "zero"}), surrogate=surrogate)
    detach = run(type(control)(**{**vars(control), "action": "detach"}), surrogate=surrogate)
    assert torch.equal(detach.loss, base.loss)
    assert not torch.equal(zero.loss, base.loss)
    assert torch.equal(_gradient(zero, tokens), _gradient(detach, tokens))
    chosen = zero.tokens["selected"]
    assert chosen.any()
    assert not _gradient(zero, tokens)[chosen].any()
    assert torch.equal(_gradient(zero, tokens)[~chosen], _gradient(base, tokens)[~chosen])


def test_band_candidates(tokens, run, plain):
    control = ClipCov(fraction=0.5, low=0.3, high=1.1)
    out = run(control)
    covariance = plain.covariance(tokens.logprobs, tokens.advantages, tokens.mask)
    _, clipped = plain.token_loss(PPOClip(), tokens)
    eligible = (covariance > 0.3) & (covariance < 1.1)
    eligible[tokens.mask] &= ~clipped
    assert 0 < eligible.sum() < 0.5 * tokens.mask.sum()
    assert torch.equal(out.tokens["selected"], eligible)


def test_band_bounds_are_strict():
    logprobs = torch.tensor([[0.0, -2.0, -1.0, -1.0]])
    advantages = torch.tensor([[1.0, -1.0, 0.0, 0.0]])  # covariances 1, 1, 0, 0
    for low, high, n in ((1.0, 5.0, 0), (0.0, 1.0, 0), (0.999, 1.001, 2)):
        control = ClipCov(fraction=0.9, low=low, high=high)
        out = policy_loss(
            logprobs, logprobs, advantages, torch.ones(1, 4), control=control, surrogate=REINFORCE()
        )
        assert int(out.tokens["selected"].sum()) == n


def test_covariance_on_old(tokens, run, plain):
    control = ClipCov(fraction=0.1, select="top", covariance_on="old")
    out = run(control)
    covariance = plain.covariance(tokens.old_logprobs, tokens.advantages, tokens.mask)
    torch.testing.assert_close(out.tokens["covariance"], covariance, equal_nan=True)
    assert torch.equal(out.tokens["selected"], plain.chosen(control, tokens))


def test_the_draw_changes_with_seed_and_step(run):
    control = RandomClip(fraction=0.1)
    draws = [run(control, seed=a, step=b).tokens["selected"] for a, b in ((0, 0), (0, 1), (1, 0))]
    assert not torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
    assert draws[0].sum() == draws[1].sum() == draws[2].sum()


def test_random_clip_leaves_clipped_tokens_alone(tokens, run):
    out = run(RandomClip(fraction=0.6), surrogate=PPOClip(0.05, 0.05))
    assert (tokens.mask & ~out.tokens["clipped"]).sum() < 0.6 * tokens.mask.sum()
    assert torch.equal(out.tokens["selected"], tokens.mask & ~out.tokens["clipped"])


def test_minimum():
    with pytest.raises(InvalidInputError, match="minimum=-1"):
        ClipCov(minimum=-1)
    logprobs = torch.randn(2, 10)
    given = (logprobs, logprobs, torch.randn(2, 10), torch.ones(2, 10))
    with pytest.warns(UserWarning, match="0 are chosen"):
        none = policy_loss(*given, control=ClipCov(fraction=1e-3, select="top", minimum=0))
    assert int(none.metrics["entropylab/selected/count"]) == 0
    three = policy_loss(*given, control=ClipCov(fraction=1e-3, select="top", minimum=3), validate=False)
    assert int(three.metrics["entropylab/selected/count"]) == 3


def test_paper_and_top_forms():
    assert ClipCov.paper() == ClipCov() == ClipCov(2e-4, "band", 1.0, 5.0, "zero", "current")
    assert ClipCov.top() == ClipCov(fraction=1e-3, select="top", action="detach")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ClipCov(fraction=20), "not a percentage"),
        (lambda: ClipCov(low=5.0, high=1.0), r"low=5.0 is not below high=1.0"),
        (lambda: ClipCov(low=1.0, high=1.0), "not below"),
        (lambda: ClipCov(low=float("nan")), "low=nan"),
        (lambda: ClipCov(select="random"), "select='random'.*band, top"),
        (lambda: ClipCov(action="mask"), "action='mask'.*zero, detach"),
        (lambda: ClipCov(covariance_on="new"), "covariance_on='new'"),
        (lambda: RandomClip(fraction=1.0), "fraction=1.0"),
        (lambda: RandomClip(action="no"), "action='no'"),
        (lambda: EntropyBonus(coef=float("nan")), "coef=nan"),
        (lambda: EntropyBonus(coef="x"), "coef='x'"),
        (lambda: KLPenalty(coef=0.1, divergence="k4"), "divergence='k4'"),
        (lambda: PPOClip(low=-0.1), "low=-0.1"),
        (lambda: PPOClip(low=1.5), "low=1.5"),
        (lambda: PPOClip(high=float("inf")), "high=inf"),
    ],
)
def test_settings_refuse_nonsense(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()


@pytest.mark.parametrize("divergence", ["abs_logratio", "k1", "k2", "k3", "reverse_kl", "forward_kl"])
def test_kl_penalty_equals_the_plain_formula(tokens, run, plain, divergence):
    control = KLPenalty(coef=0.3, divergence=divergence)
    out = run(control)
    expected = plain.loss(tokens, PPOClip(), control, None)
    torch.testing.assert_close(out.loss, expected, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(
        plain.gradients(tokens, out.loss), plain.gradients(tokens, expected), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-15)


@pytest.mark.parametrize(
    ("control", "missing"),
    [
        (EntropyBonus(0.1), "EntropyBonus needs entropy="),
        (KLPenalty(0.1), "KLPenalty needs ref_logprobs="),
        (KLPenalty(0.1, "reverse_kl"), "KLPenalty needs full_kl="),
        ([ClipCov(fraction=0.1), EntropyBonus(0.1)], "EntropyBonus needs entropy="),
    ],
)
def test_a_missing_input_is_named(tokens, inputs, control, missing):
    with pytest.raises(MissingInputError, match=missing):
        policy_loss(*inputs(tokens, None)[0], control=control)


# --- sequences


def test_a_sequence_adds_up(tokens, run):
    clip, bonus, penalty = ClipCov(fraction=0.1, select="top"), EntropyBonus(0.2), KLPenalty(0.3)
    base, clipped = run(None).loss, run(clip).loss
    parts = [run(x).loss - base for x in (bonus, penalty)]
    torch.testing.assert_close(run([clip, bonus, penalty]).loss, clipped + parts[0] + parts[1])
    torch.testing.assert_close(run((bonus,)).loss, run(bonus).loss)
    assert torch.equal(run([]).loss, base)


@pytest.mark.parametrize("action", ["zero", "detach"])
@pytest.mark.parametrize(
    "other",
    [
        EntropyBonus(0.2),
        KLPenalty(0.3),
        KLPenalty(0.3, "reverse_kl"),
        KLCov(fraction=0.1),
        KLCov(fraction=0.1, divergence="reverse_kl"),
    ],
)
def test_order_matters_where_a_later_control_drops_tokens(tokens, run, plain, action, other):
    clip = ClipCov(fraction=0.1, select="top", action=action)
    first, last = run([clip, other]), run([other, clip])
    chosen = run(clip).tokens["selected"]
    (kept, dropped) = ([g[chosen] for g in plain.gradients(tokens, x.loss)] for x in (first, last))
    assert any(g.any() for g in kept)
    assert not any(g.any() for g in dropped)
    if action == "detach":
        torch.testing.assert_close(first.loss, last.loss)


def test_two_selecting_controls_report_the_union(run):
    clip, kl = ClipCov(fraction=0.05, select="top"), KLCov(fraction=0.15)
    both = run([clip, kl]).tokens["selected"]
    assert torch.equal(both, run(clip).tokens["selected"] | run(kl).tokens["selected"])


@pytest.mark.parametrize(
    ("control", "message"),
    [
        ([ClipCov(), ClipCov.top()], "ClipCov more than once"),
        ([ClipCov(), RandomClip()], "ClipCov and RandomClip, which both drop"),
        ([ClipCov(covariance_on="old"), KLCov()], "covariance_on='old', KLCov has covariance_on='current'"),
        (ClipCov, "is not a control"),
        ("clip_cov", "is not a control"),
        ([ClipCov(), 3], "control=3 is not a control"),
    ],
)
def test_controls_that_do_not_go_together(run, tokens, inputs, control, message):
    with pytest.raises(InvalidInputError, match=message):
        policy_loss(*inputs(tokens, None)[0], control=control)
