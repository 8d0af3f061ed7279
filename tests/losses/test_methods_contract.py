"""Every row of METHODS keeps the same contract: values, gradients, choices, numbers."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.random_clip import RandomClip
from entropylab.losses.interfaces import SelectingControl
from entropylab.losses.surrogates import GSPO, REINFORCE, ImportanceSampling

N_KEYS = {"covariance", "selected", "ratio", "clipped", "weight"}


@pytest.fixture
def tokens(make_tokens):
    return make_tokens(8, 1150, seed=3)


@pytest.fixture
def few_tokens(make_tokens):
    """For what does not hang on the number of chosen tokens."""
    return make_tokens(8, 200, seed=3)


def test_it_has_a_line_of_text_and_an_origin(method):
    assert method.text.endswith(".")
    assert len(method.origin) > 8
    assert set(method.needs) <= {"entropy", "ref_logprobs", "full_kl"}


def test_loss_and_gradient_equal_autograd_of_the_plain_formula(method, tokens, run_method, plain):
    out = run_method(tokens, method)
    selects = isinstance(method.control, SelectingControl)
    chosen = out.tokens["selected"]
    if selects and not plain.is_random(method.control):
        assert torch.equal(chosen, plain.chosen(method.control, tokens))
    expected = plain.loss(tokens, method.surrogate, method.control, chosen)
    torch.testing.assert_close(out.loss, expected, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(
        plain.gradients(tokens, out.loss), plain.gradients(tokens, expected), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-15)


@pytest.mark.quick("*-dtype1-*")
@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [(torch.float32, 1e-5, 1e-8), (torch.bfloat16, 1e-2, 1e-6), (torch.float16, 1e-3, 1e-6)],
)
def test_lower_precision_is_computed_in_fp32(method, tokens, run_method, plain, dtype, rtol, atol, cast):
    low = cast(tokens, dtype)
    out = run_method(low, method)
    assert out.loss.dtype == torch.float32
    high = cast(low, torch.float64)
    expected = plain.loss(high, method.surrogate, method.control, out.tokens["selected"])
    torch.testing.assert_close(out.loss.double(), expected, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(plain.gradients(low, out.loss), plain.gradients(high, expected), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), theirs, rtol=rtol, atol=atol)


def test_a_permutation_of_the_batch_changes_nothing(method, tokens, run_method, plain):
    ids = torch.tensor([40, 7, 3, 99, 12, 2**40, 5, -6])
    order = torch.tensor([5, 2, 7, 0, 3, 1, 6, 4])
    out = run_method(tokens, method, sample_ids=ids, seed=1, step=2)
    permuted = type(tokens)(
        **{k: v.detach()[order].requires_grad_(v.requires_grad) for k, v in vars(tokens).items()}
    )
    other = run_method(permuted, method, sample_ids=ids[order], seed=1, step=2)
    assert torch.equal(other.tokens["selected"], out.tokens["selected"][order])
    torch.testing.assert_close(other.loss, out.loss, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(
        plain.gradients(permuted, other.loss), plain.gradients(tokens, out.loss), strict=True
    ):
        torch.testing.assert_close(mine, theirs[order], rtol=1e-12, atol=1e-15)


def test_the_same_seed_and_step_give_the_same_tokens(method, tokens, run_method):
    torch.manual_seed(1)
    first = run_method(tokens, method, seed=5, step=9)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = run_method(tokens, method, seed=5, step=9)
    assert torch.equal(first.tokens["selected"], second.tokens["selected"])
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"


def test_tokens_and_metrics_have_their_form(method, tokens, run_method):
    out = run_method(tokens, method)
    assert set(out.tokens) == N_KEYS
    for name, value in out.tokens.items():
        assert value.shape == tokens.mask.shape
        assert not value.requires_grad
        if name in ("selected", "clipped"):
            assert value.dtype == torch.bool
            assert not value[~tokens.mask].any()
        else:
            assert torch.equal(torch.isnan(value), ~tokens.mask)
    for name, value in out.metrics.items():
        assert name.startswith("entropylab/")
        assert value.dim() == 0
        assert not value.requires_grad
        assert torch.isfinite(value)
    assert out.loss.dim() == 0


def test_metrics_are_the_numbers_they_name(method, tokens, run_method, plain):
    out = run_method(tokens, method)
    m, metrics = tokens.mask, {k.removeprefix("entropylab/"): float(v) for k, v in out.metrics.items()}
    d = (tokens.logprobs - tokens.old_logprobs).detach()[m]
    n, chosen = int(m.sum()), out.tokens["selected"]
    on_old = getattr(method.control, "covariance_on", "current") == "old"
    l, a = (tokens.old_logprobs if on_old else tokens.logprobs).detach(), tokens.advantages
    covariance = plain.covariance(l, a, m)
    high, above = l > l[m].mean(), a > a[m].mean()
    clipped = plain.clipped(method, tokens)
    drift = (tokens.logprobs - tokens.old_logprobs).detach()[chosen]
    positive = covariance.clamp(min=0)
    metrics = {k: v for k, v in metrics.items() if k.split("/")[0] not in ("bapo", "lp_reg")}
    expected = {
        "cov/mean": covariance[m].mean(),
        "selected/count": chosen.sum(),
        "selected/fraction": float(chosen.sum()) / n,
        "selected/cov_mean": covariance[chosen].mean() if chosen.any() else 0.0,
        "selected/positive_mass_share": positive[chosen].sum() / positive[m].sum(),
        "selected/kl_k3": (drift.exp() - 1 - drift).mean() if chosen.any() else 0.0,
        "selected/abs_log_ratio": drift.abs().mean() if chosen.any() else 0.0,
        "clipped/fraction": clipped.double().mean(),
        "ratio/mean": d.exp().mean(),
        "ratio/max": d.exp().max(),
        "kl/k1": -d.mean(),
        "kl/k3": (d.exp() - 1 - d).mean(),
        "nonfinite": 0,
        "selected/high_above": (chosen & high & above).sum(),
        "selected/high_below": (chosen & high & ~above).sum(),
        "selected/low_above": (chosen & ~high & above).sum(),
        "selected/low_below": (chosen & ~high & ~above).sum(),
    }
    if isinstance(method.control, SelectingControl):
        expected["selected/candidates"] = plain.candidates(method.control, covariance[m], clipped)
    assert metrics == pytest.approx({k: float(v) for k, v in expected.items()}, rel=1e-10, abs=1e-13)
    torch.testing.assert_close(out.tokens["covariance"], covariance, rtol=1e-12, atol=1e-13, equal_nan=True)
    assert torch.equal(out.tokens["clipped"][m], clipped)
    torch.testing.assert_close(out.tokens["ratio"][m], d.exp())


def test_weight_is_the_factor_on_the_policy_gradient(weighing_method, tokens, run_method):
    out = run_method(tokens, weighing_method)
    (gradient,) = torch.autograd.grad(out.loss, tokens.logprobs)
    free = {REINFORCE: REINFORCE(), GSPO: GSPO(low=1.0, high=1e9)}.get(
        type(weighing_method.surrogate), ImportanceSampling()
    )
    bare = run_method(tokens, weighing_method, surrogate=free, control=None)
    (expected,) = torch.autograd.grad(bare.loss, tokens.logprobs)
    weight = out.tokens["weight"]
    torch.testing.assert_close(
        gradient[tokens.mask], (expected * weight)[tokens.mask], rtol=1e-12, atol=1e-16
    )
    if isinstance(weighing_method.control, (ClipCov, RandomClip)):
        assert torch.equal(weight == 0, out.tokens["selected"] | out.tokens["clipped"])


def test_the_numpy_twin_chooses_the_same_tokens(selecting_method, tokens, run_method, cast):
    rng = np.random.default_rng(0)
    rounded = cast(tokens, torch.float32)
    with torch.no_grad():  # few distinct values: many ties
        rounded.logprobs.copy_((rounded.logprobs * 2).round() / 2)
        rounded.old_logprobs.copy_(rounded.logprobs + 0.1)
        rounded.advantages.copy_(rounded.advantages.round())
    for batch, step in itertools.product((tokens, cast(tokens, torch.float32), rounded), (0, 1)):
        ids = torch.from_numpy(rng.permutation(8).astype(np.int64) * 2**33 - 5)
        out = run_method(batch, selecting_method, sample_ids=ids, seed=11, step=step)
        rows, positions = (x.numpy() for x in batch.mask.nonzero(as_tuple=True))
        chosen = selecting_method.control.choose_numpy(
            out.tokens["covariance"][batch.mask].numpy(),
            ids.numpy()[rows],
            positions,
            out.tokens["clipped"][batch.mask].numpy(),
            seed=11,
            step=step,
        )
        assert np.array_equal(chosen, out.tokens["selected"][batch.mask].numpy())
        assert chosen.sum() > 0


@pytest.mark.filterwarnings("ignore:.*choose on a larger token set")
@pytest.mark.parametrize(
    "reduction", ["token_mean", "seq_mean_token_mean", "seq_mean_token_sum", "token_sum"]
)
def test_every_reduction_equals_the_plain_one(method, few_tokens, run_method, plain, reduction):
    tokens = few_tokens
    with torch.no_grad():
        tokens.mask[3] = False
    for denominator in (None, 1234.0):
        if reduction == "token_sum" and denominator is None:
            continue
        if denominator and getattr(method.control, "weight", "") == "selected_mean":
            continue
        out = run_method(tokens, method, reduction=reduction, denominator=denominator)
        expected = plain.loss(
            tokens,
            method.surrogate,
            method.control,
            out.tokens["selected"],
            reduction=reduction,
            denominator=denominator,
        )
        torch.testing.assert_close(out.loss, expected, rtol=1e-11, atol=1e-14)
        for mine, theirs in zip(
            plain.gradients(tokens, out.loss), plain.gradients(tokens, expected), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-14)


@pytest.mark.filterwarnings("ignore:.*choose on a larger token set")
@pytest.mark.parametrize("form", [torch.float32, torch.int64, torch.float64, torch.uint8])
def test_the_mask_may_be_bool_or_numbers(method, few_tokens, run_method, form):
    tokens = few_tokens
    expected = run_method(tokens, method)
    tokens.mask = tokens.mask.to(form)
    assert torch.equal(run_method(tokens, method).loss, expected.loss)


def test_one_advantage_a_response_equals_a_full_tensor(method, tokens, run_method):
    row = tokens.advantages[:, 0].clone()
    tokens.advantages = row
    short = run_method(tokens, method)
    tokens.advantages = row.unsqueeze(1).expand(tokens.mask.shape)
    torch.testing.assert_close(run_method(tokens, method).loss, short.loss, rtol=1e-12, atol=1e-14)
