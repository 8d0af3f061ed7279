"""Losses and gradients of the real verl 0.9.1 (tests/oracles/make_verl_golden.py tells their origin)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from entropylab.losses.collective import Selection, select_tokens
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import ImportanceSampling, PPOClip

GOLDEN = np.load(Path(__file__).parents[1] / "oracles" / "verl_0_9_1.npz")
INDEX = json.loads(str(GOLDEN["index"]))
REDUCTIONS = {
    name: name.replace("-", "_") for name in ("token-mean", "seq-mean-token-mean", "seq-mean-token-sum")
}
pytestmark = pytest.mark.filterwarnings("ignore:.*effectively:UserWarning")


def _cases(loss):
    cases = [case for case in INDEX["cases"] if case["loss"] == loss]
    return pytest.mark.parametrize("case", cases, ids=lambda case: f"{case['key']}-{case['reduction']}")


def _columns(case):
    tensors = {
        name: torch.from_numpy(GOLDEN[f"{case['batch']}/{name}"])
        for name in ("logprobs", "old_logprobs", "advantages", "mask")
    }
    tensors["logprobs"].requires_grad_()
    return tuple(tensors.values())


def _close(case, columns, out):
    expected = {name: torch.from_numpy(GOLDEN[f"{case['key']}/{name}"]) for name in ("loss", "gradient")}
    torch.testing.assert_close(out.loss.detach(), expected["loss"], rtol=1e-6, atol=1e-6)
    (gradient,) = torch.autograd.grad(out.loss, columns[0])
    torch.testing.assert_close(gradient, expected["gradient"], rtol=1e-6, atol=1e-6)


def test_the_origin_is_the_release():
    assert INDEX["origin"]["verl"] == "0.9.1"


@_cases("vanilla")
def test_ppo_clip(case):
    columns = _columns(case)
    surrogate = PPOClip(case["low"], case["high"])
    out = policy_loss(*columns, surrogate=surrogate, reduction=REDUCTIONS[case["reduction"]])
    _close(case, columns, out)
    k1 = float(out.metrics["entropylab/kl/k1"])
    assert k1 == pytest.approx(float(GOLDEN[f"{case['key']}/ppo_kl"]), abs=1e-6)


@_cases("clip_cov")
def test_clip_cov_with_the_tokens_that_verl_drew(case):
    columns = _columns(case)
    control = ClipCov(fraction=case["fraction"], low=case["lower"], high=case["upper"])
    shared = {"surrogate": PPOClip(case["low"], case["high"]), "sample_ids": torch.arange(len(columns[0]))}
    drawn = torch.from_numpy(GOLDEN[f"{case['key']}/drawn"])
    own = select_tokens(control, *columns, **shared)
    assert int(own.count) == len(drawn), "as many tokens as verl"
    drawn = drawn[np.lexsort((drawn[:, 1], drawn[:, 0]))]
    theirs = Selection(
        control, *drawn.T, own.count, own.mean_logprob, own.mean_advantage, threshold=own.threshold
    )
    out = policy_loss(
        *columns, control=control, selection=theirs, reduction=REDUCTIONS[case["reduction"]], **shared
    )
    assert out.tokens["selected"].nonzero().tolist() == drawn.tolist()
    _close(case, columns, out)
    covariance = out.tokens["covariance"][out.tokens["selected"]]
    assert ((covariance > case["lower"]) & (covariance < case["upper"])).all()


@_cases("kl_cov")
def test_kl_cov(case):
    columns = _columns(case)
    control = KLCov(fraction=case["fraction"], beta=case["beta"])
    reduction = REDUCTIONS[case["reduction"]]
    out = policy_loss(*columns, surrogate=ImportanceSampling(), control=control, reduction=reduction)
    _close(case, columns, out)
