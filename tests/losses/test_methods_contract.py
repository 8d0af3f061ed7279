"""Every row of METHODS keeps the same contract."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.kl_penalty import KLPenalty
from entropylab.losses.controls.random_clip import RandomClip
from entropylab.losses.interfaces import SelectingControl
from entropylab.losses.methods import METHODS, Method
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import PPOClip

N_KEYS = {"covariance", "selected", "ratio", "clipped", "weight"}


def _wider(method):
    """The same row with many tokens chosen."""
    return dataclasses.replace(
        method, key=method.key + "_wide", control=dataclasses.replace(method.control, fraction=0.04)
    )


def _row(key, control):
    return Method(key, PPOClip(), control, "a form beside the table", "One more form.")


ROWS = [
    *METHODS.values(),
    *(_wider(m) for m in METHODS.values() if hasattr(m.control, "fraction")),
    *(_row(f"kl_penalty_{name}", KLPenalty(0.1, name)) for name in ("k1", "abs_logratio", "forward_kl")),
    _row("kl_cov_k1", KLCov(fraction=0.04, divergence="k1", reference="ref", covariance_on="old")),
    _row("kl_cov_k3_mean", KLCov(count=30, divergence="k3", weight="selected_mean", dead_zone=0.01)),
    _row("kl_cov_forward", KLCov(count=30, divergence="forward_kl")),
    _row("random_detach", RandomClip(fraction=0.04, action="detach")),
]
"""The table, its selecting rows with many chosen tokens, and forms that no row has."""


@pytest.fixture(params=ROWS, ids=lambda m: m.key)
def method(request):
    return request.param


@pytest.fixture
def tokens(make_tokens):
    return make_tokens(8, 1150, seed=3)


@pytest.fixture
def run(inputs):
    def call(tokens, method, **keywords):
        positional, optional = inputs(tokens, method.control)
        keywords = {"surrogate": method.surrogate, "control": method.control, **optional, **keywords}
        return policy_loss(*positional, **keywords)

    return call


def _cast(tokens, dtype):
    out = type(tokens)(**vars(tokens))
    for name, value in vars(tokens).items():
        if value.is_floating_point():
            value = value.detach().to(dtype, copy=True).requires_grad_(value.requires_grad)
        setattr(out, name, value)
    return out


def test_it_has_a_line_of_text_and_an_origin(method):
    assert method.text.endswith(".")
    assert len(method.origin) > 8
    assert set(method.needs) <= {"entropy", "ref_logprobs", "full_kl"}


def test_loss_and_gradient_equal_autograd_of_the_plain_formula(method, tokens, run, plain):
    out = run(tokens, method)
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


@pytest.mark.parametrize(
    ("dtype", "rtol", "atol"),
    [(torch.float32, 1e-5, 1e-8), (torch.bfloat16, 1e-2, 1e-6), (torch.float16, 1e-3, 1e-6)],
)
def test_lower_precision_is_computed_in_fp32(method, tokens, run, plain, dtype, rtol, atol):
    low = _cast(tokens, dtype)
    out = run(low, method)
    assert out.loss.dtype == torch.float32
    high = _cast(low, torch.float64)
    expected = plain.loss(high, method.surrogate, method.control, out.tokens["selected"])
    torch.testing.assert_close(out.loss.double(), expected, rtol=1e-5, atol=1e-6)
    for mine, theirs in zip(plain.gradients(low, out.loss), plain.gradients(high, expected), strict=True):
        assert mine.dtype == dtype
        torch.testing.assert_close(mine.double(), theirs, rtol=rtol, atol=atol)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_nothing_outside_the_mask_reaches_loss_or_gradient(method, tokens, run, plain, garbage):
    clean = run(tokens, method)
    before = plain.gradients(tokens, clean.loss)
    dirty = _cast(tokens, torch.float64)
    outside = ~tokens.mask
    with torch.no_grad():
        for name in ("logprobs", "old_logprobs", "advantages", "entropy", "ref_logprobs"):
            getattr(dirty, name)[outside] = garbage
        for name in ("logits", "ref_logits"):
            getattr(dirty, name)[outside] = float("nan")
    out = run(dirty, method)
    assert torch.equal(out.loss, clean.loss)
    for mine, theirs in zip(plain.gradients(dirty, out.loss), before, strict=True):
        assert torch.equal(mine, theirs)
    for name, value in out.metrics.items():
        assert torch.equal(value, clean.metrics[name]), name


def test_a_permutation_of_the_batch_changes_nothing(method, tokens, run, plain):
    ids = torch.tensor([40, 7, 3, 99, 12, 2**40, 5, -6])
    order = torch.tensor([5, 2, 7, 0, 3, 1, 6, 4])
    out = run(tokens, method, sample_ids=ids, seed=1, step=2)
    permuted = type(tokens)(
        **{k: v.detach()[order].requires_grad_(v.requires_grad) for k, v in vars(tokens).items()}
    )
    other = run(permuted, method, sample_ids=ids[order], seed=1, step=2)
    assert torch.equal(other.tokens["selected"], out.tokens["selected"][order])
    torch.testing.assert_close(other.loss, out.loss, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(
        plain.gradients(permuted, other.loss), plain.gradients(tokens, out.loss), strict=True
    ):
        torch.testing.assert_close(mine, theirs[order], rtol=1e-12, atol=1e-15)


def test_the_same_seed_and_step_give_the_same_tokens(method, tokens, run):
    torch.manual_seed(1)
    first = run(tokens, method, seed=5, step=9)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = run(tokens, method, seed=5, step=9)
    assert torch.equal(first.tokens["selected"], second.tokens["selected"])
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(state, torch.get_rng_state()), "the global generator was used"


def test_tokens_and_metrics_have_their_form(method, tokens, run):
    out = run(tokens, method)
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


def test_metrics_are_the_numbers_they_name(method, tokens, run, plain):
    out = run(tokens, method)
    m, metrics = tokens.mask, {k.removeprefix("entropylab/"): float(v) for k, v in out.metrics.items()}
    d = (tokens.logprobs - tokens.old_logprobs).detach()[m]
    n, chosen = int(m.sum()), out.tokens["selected"]
    on_old = getattr(method.control, "covariance_on", "current") == "old"
    l, a = (tokens.old_logprobs if on_old else tokens.logprobs).detach(), tokens.advantages
    covariance = plain.covariance(l, a, m)
    high, above = l > l[m].mean(), a > a[m].mean()
    _, clipped = plain.token_loss(method.surrogate, tokens)
    expected = {
        "cov/mean": covariance[m].mean(),
        "selected/count": chosen.sum(),
        "selected/fraction": float(chosen.sum()) / n,
        "selected/cov_mean": covariance[chosen].mean() if chosen.any() else 0.0,
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
    assert metrics == pytest.approx({k: float(v) for k, v in expected.items()}, rel=1e-10, abs=1e-13)
    torch.testing.assert_close(out.tokens["covariance"], covariance, rtol=1e-12, atol=1e-13, equal_nan=True)
    assert torch.equal(out.tokens["clipped"][m], clipped)
    torch.testing.assert_close(out.tokens["ratio"][m], d.exp())


def test_weight_is_the_factor_on_the_policy_gradient(method, tokens, run):
    if type(method.control).__name__ not in ("ClipCov", "RandomClip", "NoneType"):
        pytest.skip("adds a gradient of its own")
    out = run(tokens, method)
    (gradient,) = torch.autograd.grad(out.loss, tokens.logprobs)
    stopped = out.tokens["weight"] == 0
    assert torch.equal(gradient[tokens.mask] == 0, stopped[tokens.mask])
    assert torch.equal(stopped, out.tokens["selected"] | out.tokens["clipped"])


def test_the_numpy_twin_chooses_the_same_tokens(method, tokens, run):
    if not isinstance(method.control, SelectingControl):
        pytest.skip("chooses no tokens")
    rng = np.random.default_rng(0)
    rounded = _cast(tokens, torch.float32)
    with torch.no_grad():  # few distinct values: many ties
        rounded.logprobs.copy_((rounded.logprobs * 2).round() / 2)
        rounded.old_logprobs.copy_(rounded.logprobs + 0.1)
        rounded.advantages.copy_(rounded.advantages.round())
    for batch, step in itertools.product((tokens, _cast(tokens, torch.float32), rounded), (0, 1)):
        ids = torch.from_numpy(rng.permutation(8).astype(np.int64) * 2**33 - 5)
        out = run(batch, method, sample_ids=ids, seed=11, step=step)
        rows, positions = (x.numpy() for x in batch.mask.nonzero(as_tuple=True))
        chosen = method.control.choose_numpy(
            out.tokens["covariance"][batch.mask].numpy(),
            ids.numpy()[rows],
            positions,
            out.tokens["clipped"][batch.mask].numpy(),
            seed=11,
            step=step,
        )
        assert np.array_equal(chosen, out.tokens["selected"][batch.mask].numpy())
        assert chosen.sum() > 0


class NoHostSync(TorchDispatchMode):
    """Fails where an operation would wait for the device."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = str(func)
        for word in (
            "_local_scalar_dense",
            "nonzero",
            "item",
            "masked_select",
            "unique",
            "is_nonzero",
            "equal.",
        ):
            assert word not in name, f"{name} waits for the device"
        if "index" in name:
            indices = [x for arg in args if isinstance(arg, (list, tuple)) for x in arg]
            masks = [x for x in indices if isinstance(x, torch.Tensor) and x.dtype == torch.bool]
            assert not masks, f"{name} waits for the device"
        return func(*args, **(kwargs or {}))


def test_the_watcher_of_syncs_can_fail():
    for offence in (
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: bool(x.any()),
        lambda x: x.nonzero(),
    ):
        with NoHostSync(), pytest.raises(AssertionError, match="waits"):
            offence(torch.ones(3))


@pytest.mark.parametrize("with_ids", [False, True])
def test_no_host_sync(method, tokens, run, with_ids):
    ids = torch.arange(8).flip(0) if with_ids else None
    with NoHostSync():
        out = run(tokens, method, validate=False, sample_ids=ids)
        out.loss.backward()
    assert torch.equal(out.loss, run(tokens, method, sample_ids=ids).loss)


def test_without_validation_an_empty_mask_gives_zero(method, tokens, run, plain):
    tokens.mask = torch.zeros_like(tokens.mask)
    out = run(tokens, method, validate=False)
    assert out.loss.item() == 0.0
    for gradient in plain.gradients(tokens, out.loss):
        assert torch.equal(gradient, torch.zeros_like(gradient))
    assert all(float(value) == 0.0 for value in out.metrics.values())


def test_without_validation_an_empty_tensor_gives_zero(method, tokens, run):
    empty = type(tokens)(
        **{k: v.detach()[:0].requires_grad_(v.requires_grad) for k, v in vars(tokens).items()}
    )
    out = run(empty, method, validate=False)
    out.loss.backward()
    assert out.loss.item() == 0.0
    assert all(float(value) == 0.0 for value in out.metrics.values())


@pytest.mark.parametrize("name", ["logprobs", "old_logprobs", "advantages", "entropy", "ref_logprobs"])
@pytest.mark.parametrize("value", [float("nan"), -float("inf"), float("inf")])
def test_without_validation_a_nonfinite_token_is_left_out_and_counted(
    method, tokens, run, plain, name, value
):
    if name in ("entropy", "ref_logprobs") and name not in method.needs:
        pytest.skip("not read")
    dropped = _cast(tokens, torch.float64)
    dropped.mask = tokens.mask.clone()
    dropped.mask[2, 5] = dropped.mask[4, 0] = False
    expected = run(dropped, method)
    with torch.no_grad():
        getattr(tokens, name)[2, 5] = value
        getattr(tokens, name)[4, 0] = value
    out = run(tokens, method, validate=False)
    assert int(out.metrics["entropylab/nonfinite"]) == 2
    torch.testing.assert_close(out.loss, expected.loss, rtol=1e-12, atol=1e-14)
    assert torch.equal(out.tokens["selected"], expected.tokens["selected"])
    for mine, theirs in zip(
        plain.gradients(tokens, out.loss), plain.gradients(dropped, expected.loss), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(
    "reduction", ["token_mean", "seq_mean_token_mean", "seq_mean_token_sum", "token_sum"]
)
def test_every_reduction_equals_the_plain_one(method, tokens, run, plain, reduction):
    with torch.no_grad():
        tokens.mask[3] = False
    for denominator in (None, 1234.0):
        if reduction == "token_sum" and denominator is None:
            continue
        if denominator and getattr(method.control, "weight", "") == "selected_mean":
            continue
        out = run(tokens, method, reduction=reduction, denominator=denominator)
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


@pytest.mark.parametrize("form", [torch.bool, torch.float32, torch.int64, torch.float64, torch.uint8])
def test_the_mask_may_be_bool_or_numbers(method, tokens, run, form):
    expected = run(tokens, method)
    tokens.mask = tokens.mask.to(form)
    assert torch.equal(run(tokens, method).loss, expected.loss)


def test_one_advantage_a_response_equals_a_full_tensor(method, tokens, run):
    row = tokens.advantages[:, 0].clone()
    tokens.advantages = row
    short = run(tokens, method)
    tokens.advantages = row.unsqueeze(1).expand(tokens.mask.shape)
    torch.testing.assert_close(run(tokens, method).loss, short.loss, rtol=1e-12, atol=1e-14)


def test_log_ratios_are_clamped(method, tokens, run):
    with torch.no_grad():
        tokens.old_logprobs[0, 0] = tokens.logprobs[0, 0] - 100.0
        tokens.ref_logprobs[0, 1] = tokens.logprobs[0, 1] + 100.0
    out = run(tokens, method)
    (gradient,) = torch.autograd.grad(out.loss, tokens.logprobs)
    assert torch.isfinite(out.loss)
    assert torch.isfinite(gradient).all()
    assert float(out.metrics["entropylab/ratio/max"]) == pytest.approx(float(np.exp(20.0)))
