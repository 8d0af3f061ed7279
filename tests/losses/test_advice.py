"""Warnings about choices that do nothing: said once, in words that name the mend, and never by mistake."""

from __future__ import annotations

import warnings

import pytest
import torch

from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.target_clip_cov import TargetClipCov
from entropylab.losses.policy_loss import policy_loss


@pytest.fixture
def columns(make_tokens):
    tokens = make_tokens(8, 60)
    return {
        name: getattr(tokens, name).detach().clone()
        for name in ("logprobs", "old_logprobs", "advantages", "mask")
    }


@pytest.fixture
def quiet():
    """Fails on any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def test_one_response_is_named_as_the_reason(columns):
    one = {name: value[:1] for name, value in columns.items()}
    one["advantages"] = torch.tensor([1.3], dtype=torch.float64)
    with pytest.warns(UserWarning, match=r"all covariances of this batch are 0 \(one response, with one adv"):
        policy_loss(**one, control=KLCov(count=2))
    two = {**columns, "advantages": torch.full((8,), 1.3, dtype=torch.float64)}
    with pytest.warns(UserWarning, match=r"are 0 \(advantages or logprobs are constant\).*select_tokens"):
        policy_loss(**two, control=ClipCov(fraction=0.1))


@pytest.mark.parametrize("kind", [ClipCov, TargetClipCov])
@pytest.mark.parametrize("bounds", [(50.0, 90.0), (-90.0, -50.0)])
def test_a_band_that_no_token_reaches_names_what_is_reached(columns, kind, bounds):
    low, high = bounds
    out = policy_loss(**columns)
    covariance = out.tokens["covariance"][columns["mask"]]
    control = kind(fraction=0.1, low=low, high=high)
    message = (
        rf"no token reaches its band \({low:g}, {high:g}\), so nothing is chosen: the covariances of this "
        rf"batch lie between {float(covariance.min()):.3g} and {float(covariance.max()):.3g}"
    )
    with pytest.warns(UserWarning, match=message) as caught:
        policy_loss(**columns, control=control)
    l, a = columns["logprobs"][columns["mask"]], columns["advantages"][columns["mask"]]
    reach = float((a.max() - a.mean()) * (0.0 - l.mean()))
    assert f"with the largest advantage would have {reach:.3g};" in str(caught[0].message)


@pytest.mark.usefixtures("quiet")
def test_a_band_that_a_token_reaches_and_the_top_are_fine(columns):
    policy_loss(**columns, control=ClipCov(fraction=0.1, low=0.1))
    policy_loss(**columns, control=ClipCov(fraction=0.1, select="top", low=50.0, high=90.0))


@pytest.mark.usefixtures("quiet")
def test_kl_cov_after_a_rollout_is_no_reason_to_warn(columns):
    same = {**columns, "logprobs": columns["old_logprobs"]}
    for step in range(4):
        for _ in range(5):
            policy_loss(**same, control=KLCov(fraction=0.1), step=step)
        policy_loss(**columns, control=KLCov(fraction=0.1), step=step)


@pytest.mark.parametrize("divergence", ["abs_logratio", "k2", "k3"])
def test_kl_cov_that_is_always_on_policy_does_nothing(columns, divergence):
    same = {**columns, "logprobs": columns["old_logprobs"].clone().requires_grad_()}
    control = KLCov(fraction=0.1, divergence=divergence)
    first = policy_loss(**same, control=control, step=7)
    plain = policy_loss(**same)
    gradients = [torch.autograd.grad(one.loss, same["logprobs"])[0] for one in (first, plain)]
    assert torch.equal(*gradients), "which is why it is said"
    with pytest.warns(UserWarning, match="0 since step 7, so divergence='.*reference='ref'"):
        policy_loss(**same, control=control, step=8)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy_loss(**same, control=control, step=9)


def test_kl_cov_without_step_numbers_is_told_after_many_calls(columns):
    same = {**columns, "logprobs": columns["old_logprobs"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(255):
            policy_loss(**same, control=KLCov(fraction=0.1))
    with pytest.warns(UserWarning, match="the control does nothing"):
        policy_loss(**same, control=KLCov(fraction=0.1))


@pytest.mark.usefixtures("quiet")
def test_a_divergence_with_a_gradient_of_its_own_is_fine(columns):
    same = {**columns, "logprobs": columns["old_logprobs"]}
    for step in range(3):
        policy_loss(**same, control=KLCov(fraction=0.1, divergence="k1"), step=step)
        policy_loss(
            **same,
            control=KLCov(fraction=0.1, reference="ref"),
            ref_logprobs=columns["logprobs"],
            step=step,
        )


@pytest.mark.usefixtures("quiet")
def test_nothing_is_said_without_validation(columns):
    same = {**columns, "logprobs": columns["old_logprobs"]}
    for step in range(3):
        policy_loss(**same, control=KLCov(fraction=0.1), step=step, validate=False)
        policy_loss(**columns, control=ClipCov(low=50.0, high=90.0), validate=False)
