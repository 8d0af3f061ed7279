"""The controls beside Clip-Cov and KL-Cov: their state, what they do, how they combine, bad settings."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch

from entropylab.errors import InvalidInputError, MissingInputError
from entropylab.losses.batch import make_batch
from entropylab.losses.control_sequence import as_controls, update_control
from entropylab.losses.controls.adaptive_entropy import AdaptiveEntropyBonus
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.entropic import EntroPIC
from entropylab.losses.controls.entropy_advantage import EntropyAdvantage
from entropylab.losses.controls.entropy_bonus import EntropyBonus
from entropylab.losses.controls.forking_tokens import ForkingTokens
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.kl_penalty import KLPenalty
from entropylab.losses.controls.lp_reg import LpReg
from entropylab.losses.controls.quantile_baseline import QuantileBaseline
from entropylab.losses.controls.random_clip import RandomClip
from entropylab.losses.controls.sample_weight import SampleWeight
from entropylab.losses.controls.steer import STEER
from entropylab.losses.controls.target_clip_cov import TargetClipCov
from entropylab.losses.controls.target_kl_cov import TargetKLCov
from entropylab.losses.min_p import min_p_logprobs
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.settings import from_dict, to_dict
from entropylab.losses.surrogates import ImportanceSampling, PPOClip

ADAPTIVE = [AdaptiveEntropyBonus(), EntroPIC(), TargetClipCov(), TargetKLCov()]


@pytest.fixture
def tokens(make_tokens):
    return make_tokens(8, 90, seed=4)


def _columns(tokens, rows=slice(None)):
    return tuple(x[rows] for x in (tokens.logprobs, tokens.old_logprobs, tokens.advantages, tokens.mask))


def _run(tokens, control, rows=slice(None), **keywords):
    given = {"entropy": tokens.entropy[rows], "ref_logprobs": tokens.ref_logprobs[rows]}
    return policy_loss(*_columns(tokens, rows), control=control, **given, **keywords)


# --- controls that follow the entropy


@pytest.mark.parametrize("control", ADAPTIVE, ids=lambda one: type(one).__name__)
def test_the_state_is_frozen_and_survives_json(control):
    before = to_dict(control)
    for entropy in (0.9, 0.1, 0.05, 0.3):
        following = control.updated(entropy)
        assert following is not control
        assert to_dict(control) == before, "an update makes a new control"
        control = from_dict(json.loads(json.dumps(to_dict(following))))
        assert control == following
        before = to_dict(control)
    with pytest.raises(AttributeError):
        control.target = 1.0


def test_adaptive_entropy_as_the_released_controller():
    """The numbers of a run of the released code: start 0, step 1e-4, at most 3e-4, target 0.2."""
    control = AdaptiveEntropyBonus(target=0.2, delta=1e-4, most=3e-4)
    steps = [(0.1, 1e-4, True), (0.1, 2e-4, True), (0.1, 3e-4, True), (0.1, 3e-4, True)]
    steps += [(0.3, 2e-4, False), (0.2, 1e-4, False), (0.19, 2e-4, True), *[(0.5, None, False)] * 4]
    for entropy, coef, active in steps:
        control = control.updated(entropy)
        assert control.active is active
        if coef is not None:
            assert control.coef == pytest.approx(coef, abs=1e-15)
    assert control.coef == 0.0


def test_adaptive_entropy_is_an_entropy_bonus_while_active(tokens):
    on = AdaptiveEntropyBonus(most=1.0, coef=0.05, active=True)
    off = AdaptiveEntropyBonus(most=1.0, coef=0.05, active=False)
    assert torch.equal(_run(tokens, on).loss, _run(tokens, EntropyBonus(0.05)).loss)
    assert torch.equal(_run(tokens, off).loss, _run(tokens, None).loss)


def test_entropic_as_the_released_snippet():
    control, accumulated = EntroPIC(target=0.3, proportional=0.7, integral_gain=0.2), 0.0
    for entropy in (0.5, 0.1, 0.05, 0.9, 6.0, 0.0):
        alpha = float(np.clip(accumulated * 0.2 + (entropy - 0.3) * 0.7, -1.0, 1.0))
        accumulated += entropy - 0.3
        control = control.updated(entropy)
        assert control.alpha == pytest.approx(alpha)
        assert control.integral == pytest.approx(accumulated)


def test_entropic_is_a_weight_by_the_sign_of_the_advantage(tokens):
    control = EntroPIC(threshold=0.4, alpha=-0.6)
    gradients = [
        torch.autograd.grad(_run(tokens, one, surrogate=ImportanceSampling()).loss, tokens.logprobs)[0]
        for one in (control, None)
    ]
    likely = tokens.mask & (tokens.logprobs.detach() > math.log(0.4))
    assert likely.any()
    weight = torch.where(likely, 1.0 - 0.6 * tokens.advantages.sign(), 1.0)
    torch.testing.assert_close(gradients[0], gradients[1] * weight, rtol=1e-12, atol=1e-16)


@pytest.mark.parametrize(
    ("control", "setting"), [(TargetClipCov(), "fraction"), (TargetKLCov(), "beta")], ids=["clip", "kl"]
)
def test_controls_to_a_target_strengthen_below_it_and_stay_in_bounds(control, setting):
    start = getattr(control, setting)
    assert getattr(control.updated(control.target), setting) == pytest.approx(start)
    assert getattr(control.updated(0.0), setting) == pytest.approx(start * math.exp(control.gain))
    assert getattr(control.updated(2 * control.target), setting) == pytest.approx(
        start * math.exp(-control.gain)
    )
    low = high = control
    for _ in range(500):
        low, high = low.updated(50.0), high.updated(0.0)
    assert getattr(low, setting) == control.least
    assert getattr(high, setting) == control.most


def test_a_control_to_a_target_acts_as_its_plain_form(tokens):
    for target, plain in (
        (TargetClipCov(fraction=0.02, low=0.1), ClipCov(fraction=0.02, low=0.1)),
        (TargetKLCov(fraction=0.02), KLCov(fraction=0.02)),
    ):
        assert torch.equal(_run(tokens, target).loss, _run(tokens, plain).loss)


def test_update_control_goes_through_a_sequence():
    assert update_control(None, 0.5) is None
    assert update_control(ClipCov(), 0.5) == ClipCov()
    both = (ClipCov(), EntroPIC())
    assert update_control(both, 0.5) == (ClipCov(), EntroPIC().updated(0.5))
    assert update_control([EntroPIC()], 0.5) == [EntroPIC().updated(0.5)]


@pytest.mark.parametrize("control", ADAPTIVE, ids=lambda one: type(one).__name__)
@pytest.mark.parametrize("entropy", [math.nan, math.inf, -0.1, "0.2", None, torch.tensor(0.2)])
def test_an_entropy_that_is_none(control, entropy):
    with pytest.raises(InvalidInputError, match=f"{type(control).__name__}.updated: entropy="):
        control.updated(entropy)


# --- forking tokens, shaped advantage, weights


def test_forking_tokens_in_pieces_equal_the_whole(tokens):
    whole = _run(tokens, ForkingTokens(fraction=0.2))
    n = int(tokens.mask.sum())
    entropies = tokens.entropy.detach()[tokens.mask].sort(descending=True).values
    control = ForkingTokens(threshold=float(entropies[int(0.2 * n) - 1]))
    total = sum(_run(tokens, control, slice(i, i + 2), denominator=n).loss for i in range(0, 8, 2))
    torch.testing.assert_close(total, whole.loss, rtol=1e-12, atol=1e-14)
    weight = whole.tokens["weight"][tokens.mask]
    assert int((weight != 0).sum()) <= int(0.2 * n)
    learns = torch.autograd.grad(whole.loss, tokens.logprobs)[0] != 0
    assert float(tokens.entropy.detach()[learns].min()) >= control.threshold


def test_steer_in_pieces_equals_the_whole(tokens):
    whole = _run(tokens, STEER())
    n, x = int(tokens.mask.sum()), tokens
    p, r = x.logprobs.exp(), (x.logprobs - x.old_logprobs).exp()
    change = (x.advantages * r * (1 - p) * (x.logprobs + x.entropy)).detach()[x.mask].abs()
    control = STEER(scale=float(change.max()))
    total = sum(_run(tokens, control, slice(i, i + 2), denominator=n).loss for i in range(0, 8, 2))
    torch.testing.assert_close(total, whole.loss, rtol=1e-12, atol=1e-14)


def test_steer_weighs_between_least_and_one(tokens):
    weight = _run(tokens, STEER(least=0.3), surrogate=ImportanceSampling()).tokens["weight"][tokens.mask]
    assert float(weight.min()) == pytest.approx(0.3)
    assert 0.9 < float(weight.max()) <= 1.0
    assert (_run(tokens, STEER(least=1.0)).tokens["weight"][tokens.mask] <= 1.0).all()


def test_steer_score_is_what_moves_the_entropy():
    """A step on A·r moves the sampled token's own logit by A·r·(1 - p), and the entropy by -p·Ω."""
    logits = torch.tensor([1.2, 0.1, -0.4, 0.3], dtype=torch.float64, requires_grad=True)
    logprobs = logits.log_softmax(0)
    entropy = -(logprobs.exp() * logprobs).sum()
    old = float(logprobs[0].detach()) - 0.2
    objective = -1.7 * torch.exp(logprobs[0] - old)
    own_step = torch.autograd.grad(objective, logits, retain_graph=True)[0][0]
    change = own_step * torch.autograd.grad(entropy, logits)[0][0]
    one = torch.ones(1, 1, dtype=torch.float64)
    columns = (logprobs[0].detach() * one, old * one, -1.7 * one, one > 0)
    batch = make_batch(*columns, sample_ids=torch.zeros(1, dtype=torch.int64), entropy=entropy.detach() * one)
    score = STEER.entropy_change(batch)
    assert float(-logprobs[0].detach().exp() * score) == pytest.approx(float(change), rel=1e-12)


def test_entropy_advantage_by_hand():
    columns = (torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([[1.0, 1.0, -1.0, 0.0]]), torch.ones(1, 4))
    entropy = torch.tensor([[0.5, 9.0, 9.0, 9.0]])
    out = policy_loss(*columns, control=EntropyAdvantage(alpha=0.4, kappa=2.0), entropy=entropy)
    assert out.tokens["weight"][0].tolist() == pytest.approx([1.2, 1.5, 0.5, 1.0])
    assert float(out.loss) == pytest.approx(-(1.2 + 1.5 - 0.5) / 4)


def test_sample_weights_split_the_loss_by_sign(tokens):
    rewarded, punished, both = (
        _run(tokens, SampleWeight(*weights)).loss for weights in ((1.0, 0.0), (0.0, 1.0), (0.1, 1.0))
    )
    torch.testing.assert_close(rewarded + punished, _run(tokens, None).loss, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(0.1 * rewarded + punished, both, rtol=1e-12, atol=1e-14)


def test_weights_do_not_reach_later_penalties(tokens):
    weigh, penalise = SampleWeight(0.0, 2.0), KLPenalty(0.3)
    both = _run(tokens, (weigh, penalise)).loss
    apart = _run(tokens, weigh).loss + _run(tokens, penalise).loss - _run(tokens, None).loss
    torch.testing.assert_close(both, apart, rtol=1e-12, atol=1e-14)


# --- Lp-Reg and its proxy


def test_min_p_by_hand():
    p = torch.tensor([0.6, 0.3, 0.09, 0.01], dtype=torch.float64)
    logits = p.log().expand(1, 4, 4)
    proxy = min_p_logprobs(logits, torch.arange(4).view(1, 4), min_p=0.1)
    assert proxy[0, :3].exp().tolist() == pytest.approx([0.6 / 0.99, 0.3 / 0.99, 0.09 / 0.99])
    assert float(proxy[0, 3]) == -1e4
    kept = min_p_logprobs(logits, torch.arange(4).view(1, 4), min_p=0.01)
    assert kept[0].exp().tolist() == pytest.approx(p.tolist())
    assert not min_p_logprobs(
        logits.clone().requires_grad_(), torch.zeros(1, 4, dtype=torch.int64)
    ).requires_grad


def test_min_p_in_half_precision_and_at_a_temperature():
    logits = torch.randn(2, 5, 30, generator=torch.Generator().manual_seed(0))
    ids = torch.zeros(2, 5, dtype=torch.int64)
    exact = min_p_logprobs(logits.double(), ids, temperature=0.7)
    torch.testing.assert_close(
        min_p_logprobs(logits, ids, temperature=0.7).double(), exact, rtol=1e-5, atol=1e-5
    )
    assert min_p_logprobs(logits.bfloat16(), ids).dtype == torch.float32


def test_lp_reg_protects_plausible_unlikely_punished_tokens(tokens):
    out = _run(tokens, LpReg(fraction=0.3), surrogate=PPOClip(1.0, 9.0))
    plain = _run(tokens, None, surrogate=PPOClip(1.0, 9.0))
    n_protected = int(out.metrics["entropylab/lp_reg/protected"])
    assert n_protected > 0
    changed = (
        torch.autograd.grad(out.loss, tokens.logprobs)[0]
        != torch.autograd.grad(plain.loss, tokens.logprobs)[0]
    )
    assert int(changed.sum()) == n_protected
    x = tokens
    assert (x.advantages[changed] < 0).all()
    assert (x.logprobs[changed] < x.ref_logprobs[changed]).all()


def test_lp_reg_leaves_what_the_filter_takes_for_noise(tokens):
    noise = torch.full_like(tokens.ref_logprobs, -1e4)
    out = policy_loss(*_columns(tokens), control=LpReg(fraction=0.3), ref_logprobs=noise)
    assert int(out.metrics["entropylab/lp_reg/protected"]) == 0
    assert torch.equal(out.loss, policy_loss(*_columns(tokens)).loss)


# --- the quantile baseline


@pytest.mark.parametrize("quantile", [0.2, 0.4, 0.5, 0.75])
def test_quantile_baseline_has_the_two_regimes(quantile):
    for successes in range(9):
        rewards = np.array([1.0] * successes + [0.0] * (8 - successes))
        made = QuantileBaseline(quantile=quantile, scale="none").advantages(rewards, np.zeros(8, int))
        rate = successes / 8
        expected = rewards if rate <= 1 - quantile else rewards - 1
        assert made.tolist() == expected.tolist(), (rate, quantile)


def test_quantile_baseline_goes_by_prompt_in_any_order():
    rewards = np.array([0.0, 5.0, 1.0, 6.0, 1.0, 8.0])
    prompts = np.array([7, -1, 7, -1, 7, -1])
    made = QuantileBaseline(quantile=0.5).advantages(rewards, prompts)
    first, second = rewards[prompts == 7], rewards[prompts == -1]
    assert made[prompts == 7] == pytest.approx((first - 1.0) / (first.std(ddof=1) + 1e-6))
    assert made[prompts == -1] == pytest.approx((second - 6.0) / (second.std(ddof=1) + 1e-6))
    tensors = QuantileBaseline(quantile=0.5).advantages(torch.tensor(rewards), torch.tensor(prompts))
    assert tensors.tolist() == made.tolist()
    assert QuantileBaseline().advantages([3.0, 3.0, 9.0], [1, 1, 2]).tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize(
    ("rewards", "prompts", "message"),
    [
        ([1.0, 2.0], [1], r"rewards has shape \[2\], prompt_ids \[1\]"),
        ([[1.0]], [[1]], r"rewards has shape \[1, 1\]"),
        ([1.0, math.nan], [1, 1], r"rewards\[1\] is nan"),
    ],
)
def test_quantile_baseline_names_bad_input(rewards, prompts, message):
    with pytest.raises(InvalidInputError, match=message):
        QuantileBaseline().advantages(rewards, prompts)


# --- combinations


@pytest.mark.parametrize(
    ("controls", "message"),
    [
        ([STEER(), STEER()], "STEER more than once"),
        ([ClipCov(), TargetClipCov()], "ClipCov and TargetClipCov, which both drop gradients"),
        ([TargetClipCov(), RandomClip()], "TargetClipCov and RandomClip, which both drop gradients"),
        ([KLCov(), TargetKLCov()], "KLCov and TargetKLCov, which both penalise"),
        ([EntropyBonus(0.1), AdaptiveEntropyBonus()], "which both reward entropy"),
        ([SampleWeight(), EntroPIC()], "which both weigh tokens by the sign"),
        ([LpReg(), KLPenalty(0.1)], "to LpReg ref_logprobs= is the filtered proxy policy"),
        ([LpReg(), KLCov(reference="ref")], "to LpReg ref_logprobs= is the filtered proxy policy"),
        ([STEER(), LpReg()], "put it first, and not beside"),
        ([ForkingTokens(), LpReg()], "put it first"),
        ([LpReg(), SampleWeight()], "not beside EntropyAdvantage, SampleWeight or STEER"),
        ([KLPenalty(0.1), STEER()], "STEER after KLPenalty, whose term it would weigh too; put STEER first"),
        ([EntropyBonus(0.1), EntropyAdvantage()], "EntropyAdvantage after EntropyBonus"),
        ([EntroPIC(), TargetKLCov(target=0.5)], "different targets: EntroPIC has target=0.3, .*target=0.5"),
        ([KLCov(), ClipCov(covariance_on="old")], "choose by different covariances"),
        ([QuantileBaseline()], "is not a control"),
        ([STEER], "is not a control"),
    ],
)
def test_what_does_not_go_together_is_named(controls, message):
    with pytest.raises(InvalidInputError, match=message):
        as_controls(controls)


@pytest.mark.parametrize(
    "controls",
    [
        (STEER(), SampleWeight(), EntropyAdvantage(), ForkingTokens(), KLPenalty(0.1), EntropyBonus(0.1)),
        (ForkingTokens(), ClipCov(fraction=0.05, low=0.1), TargetKLCov(fraction=0.05)),
        (LpReg(fraction=0.2), ClipCov(fraction=0.05, low=0.1), EntroPIC(threshold=0.4, alpha=0.2)),
        (EntroPIC(), TargetKLCov(fraction=0.05), AdaptiveEntropyBonus(target=0.3)),
    ],
)
def test_what_goes_together_gives_a_finite_gradient(tokens, controls):
    out = _run(tokens, controls)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert torch.isfinite(tokens.logprobs.grad).all()
    assert not tokens.logprobs.grad[~tokens.mask].any()


# --- bad input and bad settings


@pytest.mark.parametrize(
    ("control", "name"),
    [
        (AdaptiveEntropyBonus(), "entropy"),
        (ForkingTokens(), "entropy"),
        (EntropyAdvantage(), "entropy"),
        (STEER(), "entropy"),
        (LpReg(), "ref_logprobs"),
        (TargetKLCov(divergence="reverse_kl"), "full_kl"),
    ],
)
def test_a_missing_input_is_named(tokens, control, name):
    with pytest.raises(MissingInputError, match=f"{type(control).__name__} needs {name}="):
        policy_loss(*_columns(tokens), control=control)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AdaptiveEntropyBonus(target=-1.0), "target=-1.0 is below 0"),
        (lambda: AdaptiveEntropyBonus(delta=math.nan), "delta=nan is not a finite number"),
        (lambda: AdaptiveEntropyBonus(least=1.0), "most=0.005 is below 1"),
        (lambda: AdaptiveEntropyBonus(coef=1.0), "coef=1.0 is above most=0.005"),
        (lambda: AdaptiveEntropyBonus(coef=-1.0), "coef=-1.0 is below 0"),
        (lambda: ForkingTokens(fraction=20), r"fraction=20 is not in \(0, 1\)"),
        (lambda: ForkingTokens(threshold=math.nan), "threshold=nan is not a finite number"),
        (lambda: EntropyAdvantage(alpha=-1.0), "alpha=-1.0 is below 0"),
        (lambda: EntropyAdvantage(kappa=1.0), "kappa=1.0 is not above 1"),
        (lambda: SampleWeight(positive=-0.1), "positive=-0.1 is below 0"),
        (lambda: SampleWeight(0.0, 0.0), "are both 0"),
        (lambda: STEER(least=0.0), r"least=0.0 is not in \(0, 1\]"),
        (lambda: STEER(floor=0.0), "floor=0.0 is not positive"),
        (lambda: STEER(scale=-1.0), "scale=-1.0 is below 0"),
        (lambda: EntroPIC(threshold=1.0), r"threshold=1.0 is not a probability in \(0, 1\)"),
        (lambda: EntroPIC(alpha=1.5), "alpha=1.5 is above 1"),
        (lambda: EntroPIC(alpha=-1.5), "alpha=-1.5 is below -1"),
        (lambda: EntroPIC(proportional=-1.0), "proportional=-1.0 is below 0"),
        (lambda: EntroPIC(integral=math.inf), "integral=inf is not a finite number"),
        (lambda: LpReg(fraction=1), r"fraction=1 is not in \(0, 1\)"),
        (lambda: LpReg(beta=-1.0), "beta=-1.0 is below 0"),
        (lambda: LpReg(max_logprob="x"), "max_logprob='x' is not a finite number"),
        (lambda: TargetClipCov(target=0.0), "target=0.0 is not a positive entropy"),
        (lambda: TargetClipCov(fraction=0.5), "fraction=0.5 is not within least=2e-05 and most=0.1"),
        (lambda: TargetClipCov(most=2.0), r"most=2.0 is not in \(0, 1\)"),
        (lambda: TargetClipCov(gain=-1.0), "gain=-1.0 is below 0"),
        (lambda: TargetKLCov(beta=1e3), "beta=1000.0 is not within least=0.01 and most=100.0"),
        (lambda: TargetKLCov(least=0.0), "least=0.0 is below"),
        (lambda: QuantileBaseline(quantile=0), r"quantile=0 is not in \(0, 1\)"),
        (lambda: QuantileBaseline(scale="max"), "scale='max' is unknown"),
    ],
)
def test_bad_settings_are_named(make, message):
    with pytest.raises(InvalidInputError, match=message):
        make()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"min_p": 2}, r"min_p=2 is not in \(0, 1\)"),
        ({"temperature": 0.0}, "temperature=0.0 is not positive"),
        ({"tokens": torch.zeros(1, 3, dtype=torch.int64)}, r"tokens has shape \[1, 3\], logits \[1, 4, 5\]"),
        ({"logits": torch.zeros(4, 5)}, r"give \[B, T\] and \[B, T, V\]"),
    ],
)
def test_min_p_names_bad_input(change, message):
    given = {"logits": torch.zeros(1, 4, 5), "tokens": torch.zeros(1, 4, dtype=torch.int64), **change}
    with pytest.raises(InvalidInputError, match=message):
        min_p_logprobs(given.pop("logits"), given.pop("tokens"), **given)
