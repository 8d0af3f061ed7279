"""Every row of METHODS withstands masks, garbage, empty batches and extremes, and never waits."""

from __future__ import annotations

import numpy as np
import pytest
import torch


@pytest.fixture
def tokens(make_tokens):
    return make_tokens(8, 1150, seed=3)


@pytest.mark.parametrize("garbage", [float("nan"), float("inf"), -float("inf"), 1e30])
def test_nothing_outside_the_mask_reaches_loss_or_gradient(method, tokens, run_method, plain, garbage, cast):
    clean = run_method(tokens, method)
    before = plain.gradients(tokens, clean.loss)
    dirty = cast(tokens, torch.float64)
    outside = ~tokens.mask
    with torch.no_grad():
        for name in ("logprobs", "old_logprobs", "advantages", "entropy", "ref_logprobs"):
            getattr(dirty, name)[outside] = garbage
        for name in ("logits", "ref_logits"):
            getattr(dirty, name)[outside] = float("nan")
    out = run_method(dirty, method)
    assert torch.equal(out.loss, clean.loss)
    for mine, theirs in zip(plain.gradients(dirty, out.loss), before, strict=True):
        assert torch.equal(mine, theirs)
    for name, value in out.metrics.items():
        assert torch.equal(value, clean.metrics[name]), name


def test_the_watcher_of_syncs_can_fail(no_host_sync):
    for offence in (
        lambda x: x.sum().item(),
        lambda x: x[x > 0],
        lambda x: bool(x.any()),
        lambda x: x.nonzero(),
    ):
        with no_host_sync(), pytest.raises(AssertionError, match="waits"):
            offence(torch.ones(3))


@pytest.mark.parametrize("with_ids", [False, True])
def test_it_never_waits_for_the_device(method, tokens, run_method, with_ids, no_host_sync):
    ids = torch.arange(8).flip(0) if with_ids else None
    with no_host_sync():
        out = run_method(tokens, method, validate=False, sample_ids=ids)
        out.loss.backward()
    assert torch.equal(out.loss, run_method(tokens, method, sample_ids=ids).loss)


def test_without_validation_an_empty_mask_gives_zero(method, tokens, run_method, plain):
    tokens.mask = torch.zeros_like(tokens.mask)
    out = run_method(tokens, method, validate=False)
    assert out.loss.item() == 0.0
    for gradient in plain.gradients(tokens, out.loss):
        assert torch.equal(gradient, torch.zeros_like(gradient))
    assert all(float(value) == 0.0 for value in out.metrics.values())


def test_without_validation_an_empty_tensor_gives_zero(method, tokens, run_method):
    empty = type(tokens)(
        **{k: v.detach()[:0].requires_grad_(v.requires_grad) for k, v in vars(tokens).items()}
    )
    out = run_method(empty, method, validate=False)
    out.loss.backward()
    assert out.loss.item() == 0.0
    assert all(float(value) == 0.0 for value in out.metrics.values())


@pytest.mark.quick("*-nan", "clip_cov-*", "kl_cov_7b-*")
@pytest.mark.parametrize("value", [float("nan"), -float("inf"), float("inf")])
def test_without_validation_a_nonfinite_token_is_left_out_and_counted(
    method, tokens, run_method, plain, value, cast
):
    without = cast(tokens, torch.float64)
    without.mask = tokens.mask.clone()
    without.mask[2, 5] = without.mask[4, 0] = False
    expected = run_method(without, method)
    read = {"entropy", "ref_logprobs"} & set(method.needs)
    for name in ("logprobs", "old_logprobs", "advantages", *sorted(read)):
        bad = cast(tokens, torch.float64)
        with torch.no_grad():
            getattr(bad, name)[2, 5] = value
            getattr(bad, name)[4, 0] = value
        out = run_method(bad, method, validate=False)
        assert int(out.metrics["entropylab/nonfinite"]) == 2
        torch.testing.assert_close(out.loss, expected.loss, rtol=1e-12, atol=1e-14)
        assert torch.equal(out.tokens["selected"], expected.tokens["selected"])
        for mine, theirs in zip(
            plain.gradients(bad, out.loss), plain.gradients(without, expected.loss), strict=True
        ):
            torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-15)


def test_log_ratios_are_clamped(method, tokens, run_method):
    with torch.no_grad():
        tokens.old_logprobs[0, 0] = tokens.logprobs[0, 0] - 100.0
        tokens.ref_logprobs[0, 1] = tokens.logprobs[0, 1] + 100.0
    out = run_method(tokens, method)
    (gradient,) = torch.autograd.grad(out.loss, tokens.logprobs)
    assert torch.isfinite(out.loss)
    assert torch.isfinite(gradient).all()
    assert float(out.metrics["entropylab/ratio/max"]) == pytest.approx(float(np.exp(20.0)))


def test_memory_layout_plays_no_part(method, tokens, run_method, plain, cast):
    expected = run_method(tokens, method)
    turned = cast(tokens, torch.float64)
    for name, value in vars(tokens).items():
        if value.dim() == 2:
            other = value.detach().t().contiguous().t().requires_grad_(value.requires_grad)
            setattr(turned, name, other)
    out = run_method(turned, method)
    assert torch.equal(out.tokens["selected"], expected.tokens["selected"])
    torch.testing.assert_close(out.loss, expected.loss, rtol=1e-12, atol=1e-14)
    for mine, theirs in zip(
        plain.gradients(turned, out.loss), plain.gradients(tokens, expected.loss), strict=True
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-15)
