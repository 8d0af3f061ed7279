"""What goes wrong in other implementations of these losses, each held right here."""

from __future__ import annotations

import math

import pytest
import torch

from entropylab.errors import InvalidInputError
from entropylab.losses.collective import select_tokens
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import ImportanceSampling, PPOClip

NAN, INF = float("nan"), float("inf")


def _columns(tokens, rows=slice(None)):
    return tuple(x[rows] for x in (tokens.logprobs, tokens.old_logprobs, tokens.advantages, tokens.mask))


@pytest.fixture
def group(make_tokens):
    """One advantage a response, as in GRPO."""
    tokens = make_tokens(16, 80, seed=1)
    rewards = torch.rand(16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    tokens.advantages = (rewards - rewards.mean()) / rewards.std()
    return tokens


def test_1_the_chosen_tokens_do_not_depend_on_the_micro_batch(group):
    control = KLCov(fraction=0.02)
    whole = policy_loss(*_columns(group), control=control).tokens["selected"]
    ids = torch.arange(16)
    selection = select_tokens(control, *_columns(group))
    overlap = []
    for size in (8, 4, 1):
        with_selection, alone = torch.zeros_like(whole), torch.zeros_like(whole)
        for rows in ids.split(size):
            columns = _columns(group, rows)
            shared = {"control": control, "sample_ids": rows, "validate": False}
            with_selection[rows] = policy_loss(*columns, selection=selection, **shared).tokens["selected"]
            alone[rows] = policy_loss(*columns, **shared).tokens["selected"]
        assert torch.equal(with_selection, whole)
        overlap.append(float((alone & whole).sum() / whole.sum()))
    assert overlap[-1] < 0.6, "and alone it does depend on it"


def test_2_one_response_a_micro_batch_is_neither_a_no_op_nor_arbitrary(group):
    control = ClipCov(fraction=0.04, select="top")
    selection = select_tokens(control, *_columns(group))
    rows = selection.sample_ids[:1]
    alone = _columns(group, rows)
    with pytest.warns(UserWarning, match="all covariances of this batch are 0"):
        policy_loss(*alone, control=control)
    out = policy_loss(*alone, control=control, selection=selection, sample_ids=rows)
    assert torch.equal(out.tokens["selected"], selection.mask(rows, 80))
    assert out.tokens["covariance"][0, 0] != 0


@pytest.mark.parametrize(("n", "effective"), [(512, 1 / 512), (1000, 1e-3), (9999, 1 / 9999)])
def test_3_a_distorted_fraction_shows(n, effective):
    logprobs = torch.randn(1, n)
    with pytest.warns(UserWarning, match="fraction=0.0002 of"):
        out = policy_loss(
            logprobs, logprobs, torch.randn(1, n), torch.ones(1, n), control=ClipCov(select="top")
        )
    assert float(out.metrics["entropylab/selected/fraction"]) == pytest.approx(effective)


def test_4_who_is_chosen_is_always_shown():
    """With |mean l| < 0.40 and groups of 8, a lower bound of 1 cannot reach a likely, well-rewarded token."""
    best = 7 / math.sqrt(8)
    advantages = torch.tensor([best] + [-best / 7] * 7).repeat(8)
    logprobs = -torch.rand(64, 200, generator=torch.Generator().manual_seed(0)).pow(3)
    logprobs[8:16, :5] = -6.0
    assert float(logprobs.mean()) > -0.40
    control = ClipCov(fraction=0.01, low=1.0, high=50.0)
    out = policy_loss(logprobs, logprobs, advantages, torch.ones(64, 200), control=control)
    metrics = {k.rsplit("/")[-1]: int(v) for k, v in out.metrics.items() if "selected/" in k}
    assert metrics["count"] > 0
    assert metrics["high_above"] == 0
    quadrants = ("high_above", "high_below", "low_above", "low_below")
    assert sum(metrics[q] for q in quadrants) == metrics["count"]


def test_5_the_top_does_not_depend_on_the_scale_of_the_advantages(group):
    columns, scaled = _columns(group), _columns(group)
    scaled = (*scaled[:2], 8.0 * scaled[2], scaled[3])
    for control, same in ((ClipCov(fraction=0.02, select="top"), True), (ClipCov(fraction=0.02), False)):
        a, b = (policy_loss(*x, control=control).tokens["selected"] for x in (columns, scaled))
        assert torch.equal(a, b) is same


def test_6_three_calls_one_loss(group):
    losses = {
        float(policy_loss(*_columns(group), control=ClipCov(fraction=0.02, low=0.1)).loss.detach())
        for _ in range(3)
    }
    assert len(losses) == 1


@pytest.mark.parametrize("control", [ClipCov(fraction=0.02, low=0.1), KLCov(fraction=0.02)])
@pytest.mark.parametrize(
    ("name", "value"), [("logprobs", NAN), ("advantages", NAN), ("old_logprobs", -INF), ("logprobs", -INF)]
)
def test_7_garbage_outside_the_mask_leaves_the_gradient(make_tokens, control, name, value):
    tokens = make_tokens(8, 80)
    with torch.no_grad():
        getattr(tokens, name)[~tokens.mask] = value
    policy_loss(*_columns(tokens), control=control).loss.backward()
    assert torch.isfinite(tokens.logprobs.grad).all()
    assert not tokens.logprobs.grad[~tokens.mask].any()


@pytest.mark.parametrize("control", [None, ClipCov(fraction=0.02), KLCov(fraction=0.02)])
def test_7_a_large_log_ratio_stays_finite(group, control):
    with torch.no_grad():
        group.old_logprobs[0, 0] = group.logprobs[0, 0] - 100.0
        group.advantages[0] = -1.0
    out = policy_loss(*_columns(group), surrogate=ImportanceSampling(), control=control)
    out.loss.backward()
    assert torch.isfinite(out.loss)
    assert torch.isfinite(group.logprobs.grad).all()


def test_7_a_nan_is_never_ranked_first(group):
    with torch.no_grad():
        group.logprobs[3, 2] = NAN
    out = policy_loss(*_columns(group), control=KLCov(count=5), validate=False)
    assert int(out.tokens["selected"].sum()) == 5
    assert not out.tokens["selected"][3, 2]
    assert torch.isfinite(out.loss)


def test_7_nonsense_settings_are_refused():
    with pytest.raises(InvalidInputError, match="not a percentage"):
        KLCov(fraction=1.5)
    with pytest.raises(InvalidInputError, match="is not below"):
        ClipCov(low=5.0, high=1.0)


def test_9_the_clipped_fraction_counts_ratio_clips_only(group):
    surrogate = PPOClip(0.05, 0.05)
    plain = policy_loss(*_columns(group), surrogate=surrogate)
    controlled = policy_loss(*_columns(group), surrogate=surrogate, control=ClipCov(fraction=0.2, low=0.01))
    assert controlled.tokens["selected"].any()
    for key in ("clipped/fraction", "kl/k1", "kl/k3", "ratio/mean"):
        assert torch.equal(plain.metrics[f"entropylab/{key}"], controlled.metrics[f"entropylab/{key}"])


def test_9_kl_k1_is_the_mean_of_the_negative_log_ratio(group):
    out = policy_loss(*_columns(group), surrogate=ImportanceSampling(), control=KLCov(fraction=0.1))
    d = (group.logprobs - group.old_logprobs).detach()[group.mask]
    assert float(out.metrics["entropylab/kl/k1"]) == pytest.approx(float(-d.mean()))
