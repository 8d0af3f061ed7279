"""Bad input ends in an error that names the tensor, the value and the mend; warnings come once."""

from __future__ import annotations

import warnings

import pytest
import torch

from entropylab.errors import InvalidInputError, MissingInputError
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.entropy_bonus import EntropyBonus
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.policy_loss import policy_loss

NAN = float("nan")


@pytest.fixture
def given(make_tokens):
    tokens = make_tokens(4, 12)
    names = ("logprobs", "old_logprobs", "advantages", "mask")
    return {name: getattr(tokens, name).detach().clone() for name in names}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda g: g.update(logprobs=g["logprobs"].flatten()), r"logprobs has shape \[48\]; give \[B, T\]"),
        (lambda g: g.update(old_logprobs=g["old_logprobs"][:, 1:]), r"old_logprobs has shape \[4, 11\]"),
        (lambda g: g.update(mask=g["mask"][1:]), r"mask has shape \[3, 12\]"),
        (lambda g: g.update(advantages=torch.zeros(12)), r"advantages .* give \[4, 12\] or \[4\]"),
        (lambda g: g.update(advantages=torch.zeros(4, 1)), r"advantages has shape \[4, 1\]"),
        (
            lambda g: g.update(advantages=torch.zeros(4, dtype=torch.int64)),
            "advantages has dtype torch.int64",
        ),
        (lambda g: g.update(mask=g["mask"].to(torch.complex64)), "mask has dtype torch.complex64"),
        (lambda g: g.update(old_logprobs=None), "old_logprobs is NoneType, not a torch tensor"),
        (lambda g: g.update(logprobs=[[1.0]]), "logprobs is list"),
        (lambda g: g.update(sample_ids=torch.arange(4.0)), "sample_ids has dtype torch.float32; give int64"),
        (lambda g: g.update(sample_ids=torch.arange(3)), r"sample_ids has shape \[3\]"),
        (
            lambda g: g.update(old_logprobs=g["old_logprobs"].to("meta")),
            "old_logprobs is on meta but logprobs on",
        ),
        (lambda g: g.update(reduction="mean"), r"reduction='mean'.*token_mean"),
        (lambda g: g.update(denominator=0), "denominator=0 is not a positive number"),
        (lambda g: g.update(denominator=NAN), "denominator=nan is not"),
        (lambda g: g.update(denominator="12"), "denominator='12' is not a number"),
        (lambda g: g.update(denominator=torch.ones(2)), r"denominator has shape \[2\]"),
        (lambda g: g.update(entropy=torch.zeros(3), control=EntropyBonus(0.1)), r"entropy has shape \[3\]"),
    ],
)
@pytest.mark.parametrize("validate", [True, False])
def test_what_costs_no_sync_is_always_checked(given, change, message, validate):
    change(given)
    with pytest.raises(InvalidInputError, match=message):
        policy_loss(**given, validate=validate)


@pytest.mark.parametrize("value", [NAN, float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["logprobs", "old_logprobs", "advantages"])
def test_a_nonfinite_value_inside_the_mask_is_named(given, name, value):
    given[name][2, 3] = value
    with pytest.raises(
        InvalidInputError, match=rf"{name}\[2, 3\] is {value} inside the mask \(1 such values\)"
    ):
        policy_loss(**given)


def test_a_nonfinite_advantage_of_a_response_is_named(given):
    given["advantages"] = torch.tensor([0.0, NAN, 1.0, 2.0])
    with pytest.raises(InvalidInputError, match=r"advantages\[1, 0\] is nan inside the mask"):
        policy_loss(**given)
    given["mask"][1] = False
    policy_loss(**given)


def test_an_input_that_is_not_used_is_not_checked(given):
    entropy = torch.full((4, 12), NAN)
    policy_loss(**given, entropy=entropy)
    with pytest.raises(InvalidInputError, match=r"entropy\[0, 0\] is nan"):
        policy_loss(**given, entropy=entropy, control=EntropyBonus(0.1))


@pytest.mark.parametrize("value", [3e38, -1e30, 2.0**21])
def test_a_value_too_large_to_add_up_exactly_is_named(given, value):
    given["advantages"][1, 1] = value
    with pytest.raises(InvalidInputError, match=r"advantages\[1, 1\] is .* smaller than 1048576"):
        policy_loss(**given)
    out = policy_loss(**given, validate=False)
    assert int(out.metrics["entropylab/nonfinite"]) == 1
    given["advantages"][1, 1] = 9e5
    assert int(policy_loss(**given).metrics["entropylab/nonfinite"]) == 0


def test_values_that_are_too_large_together_are_an_error(given):
    given["logprobs"][0, 0], given["advantages"][0, 0] = 9e5, 9e5
    with pytest.raises(InvalidInputError, match="too large together"):
        policy_loss(**given)


@pytest.mark.parametrize("value", [0.5, 2.0, -1.0, NAN])
def test_a_mask_that_is_not_0_or_1(given, value):
    given["mask"] = given["mask"].double()
    given["mask"][1, 2] = value
    with pytest.raises(InvalidInputError, match=rf"mask\[1, 2\] is {value}"):
        policy_loss(**given)


def test_an_empty_mask(given):
    given["mask"] = torch.zeros(4, 12)
    with pytest.raises(InvalidInputError, match=r"mask is empty.*denominator="):
        policy_loss(**given)
    for denominator in (5, torch.tensor(5.0)):
        assert float(policy_loss(**given, denominator=denominator).loss) == 0.0


def test_token_sum_needs_a_denominator(given):
    with pytest.raises(MissingInputError, match=r"token_sum.*denominator="):
        policy_loss(**given, reduction="token_sum")


def test_repeated_sample_ids(given):
    with pytest.raises(InvalidInputError, match="sample_ids holds 7 more than once"):
        policy_loss(**given, sample_ids=torch.tensor([1, 7, 3, 7]))


def test_a_fraction_that_is_off_is_said_once(given):
    control = KLCov(fraction=2e-3)
    n = int(given["mask"].sum())
    with pytest.warns(UserWarning, match=rf"fraction=0.002 of {n} tokens is .*, so 1 are chosen"):
        policy_loss(**given, control=control)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy_loss(**given, control=control)


def test_no_warning_without_validation_or_near_the_fraction(given):
    n = int(given["mask"].sum())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy_loss(**given, control=KLCov(fraction=2e-3), validate=False)
        policy_loss(**given, control=KLCov(fraction=4.5 / n))
        policy_loss(**given, control=KLCov(count=1))


def test_the_warning_points_at_the_caller(given):
    with pytest.warns(UserWarning, match="fraction") as caught:
        policy_loss(**given, control=KLCov(fraction=2e-3))
    assert caught[0].filename == __file__


def test_constant_advantages_are_said_once(given):
    given["advantages"] = torch.ones(4)
    control = ClipCov(fraction=0.1, select="top")
    with pytest.warns(UserWarning, match="all covariances of this batch are 0"):
        policy_loss(**given, control=control)
    given["advantages"] = torch.zeros(4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy_loss(**given, control=control)


def test_each_error_is_also_a_value_error(given):
    with pytest.raises(ValueError, match="mask is empty"):
        policy_loss(**{**given, "mask": torch.zeros(4, 12)})


def test_advantages_and_old_logprobs_get_no_gradient(given):
    given["logprobs"].requires_grad_()
    given["advantages"].requires_grad_()
    given["old_logprobs"].requires_grad_()
    policy_loss(**given).loss.backward()
    assert given["logprobs"].grad is not None
    assert given["advantages"].grad is None
    assert given["old_logprobs"].grad is None


def test_inputs_are_left_as_they_are(given):
    before = {name: value.clone() for name, value in given.items()}
    policy_loss(**given, control=ClipCov(fraction=0.1, low=0.1), entropy=None)
    for name, value in given.items():
        assert torch.equal(value, before[name])


def test_mixed_dtypes_follow_the_logprobs(given):
    low = {k: v.float() if k == "logprobs" else v for k, v in given.items()}
    out = policy_loss(**low)
    assert out.loss.dtype == torch.float32
    assert policy_loss(**low, denominator=torch.tensor(9.0, dtype=torch.float64)).loss.dtype == torch.float32
    torch.testing.assert_close(out.loss.double(), policy_loss(**given).loss, rtol=1e-5, atol=1e-6)
