"""The fused loss equals policy_loss of all logits: every row of the table and every way to reduce."""

from __future__ import annotations

import pytest
import torch

import entropylab as el

REDUCTIONS = ("token_mean", "seq_mean_token_mean", "seq_mean_token_sum", "token_sum")
DENOMINATORS = {"token_mean": (None, 37.5), "seq_mean_token_mean": (None,), "token_sum": (torch.tensor(91),)}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

SEQUENCES = {
    "drop and penalise": [el.ClipCov(fraction=0.1, low=0.1, high=9.0), el.KLCov(fraction=0.2, beta=0.5)],
    "the same tokens twice": [el.ClipCov.top(0.2), el.KLCov(fraction=0.2, divergence="k2")],
    "reward, then drop": [el.EntropyBonus(0.1), el.ClipCov(fraction=0.2, select="top")],
    "drop, then reward": [el.ClipCov.top(0.2), el.EntropyBonus(0.1)],
    "weigh, reward, hold": [el.EntropyAdvantage(), el.EntropyBonus(-0.05), el.KLPenalty(0.1)],
    "batch, then drop": [el.STEER(), el.ClipCov.top(0.2)],
    "forks with a bonus": [el.ForkingTokens(), el.EntropyBonus(0.1)],
    "full twice": [el.KLPenalty(0.1, "reverse_kl"), el.KLCov.targeted(fraction=0.1)],
}


@pytest.mark.quick("*-token_mean", "clip_cov-*", "kl_cov_7b-*", "kl_cov_targeted-*", "entropy_bonus-*")
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_every_row(method, reduction, make_head, fused, exact, agree):
    head = make_head()
    for denominator in DENOMINATORS.get(reduction, (2.5,)):
        shared = {"reduction": reduction, "denominator": denominator, "seed": 3, "step": 5}
        mine = fused(head, method.surrogate, method.control, **shared)
        theirs = exact.loss(head, method.surrogate, method.control, **shared)
        agree(head, mine, theirs)


def test_metrics_and_tokens(method, make_head, fused, exact):
    head = make_head()
    mine = fused(head, method.surrogate, method.control)
    theirs = exact.loss(head, method.surrogate, method.control)
    assert mine.metrics.keys() == theirs.metrics.keys()
    for name, value in theirs.metrics.items():
        torch.testing.assert_close(mine.metrics[name], value, rtol=1e-9, atol=1e-9)
    for name, value in theirs.tokens.items():
        torch.testing.assert_close(mine.tokens[name], value, rtol=1e-9, atol=1e-9, equal_nan=True)
    log_p = exact.distribution(head.hidden, head.weight, head.bias)
    inside = head.mask
    torch.testing.assert_close(mine.tokens["entropy"][inside], exact.entropy(log_p)[inside].detach())
    torch.testing.assert_close(mine.tokens["logprobs"][inside], exact.logprobs(head)[inside].detach())
    assert bool(mine.tokens["logprobs"][~inside].isnan().all())


@pytest.mark.quick("token_mean-*", "*-drop and penalise")
@pytest.mark.parametrize("name", SEQUENCES)
@pytest.mark.parametrize("reduction", REDUCTIONS[:3])
def test_sequences(name, reduction, make_head, fused, exact, agree):
    head = make_head(seed=4)
    for surrogate in (el.PPOClip(), el.ImportanceSampling(), el.GSPO()):
        shared = {"reduction": reduction, "seed": 1}
        mine = fused(head, surrogate, SEQUENCES[name], **shared)
        agree(head, mine, exact.loss(head, surrogate, SEQUENCES[name], **shared))


@pytest.mark.parametrize("kind", ["all", "float", "int", "holes", "a response of none", "one token"])
def test_masks(kind, make_head, fused, exact, agree):
    head = make_head(seed=2)
    if kind == "all":
        head.mask = torch.ones_like(head.mask)
    if kind == "holes":
        head.mask = torch.rand(head.mask.shape, generator=torch.Generator().manual_seed(1)) < 0.4
    if kind == "a response of none":
        head.mask[1] = False
    if kind == "one token":
        head.mask = torch.zeros_like(head.mask)
        head.mask[1, 4] = True
    head.mask = head.mask.to({"float": torch.float32, "int": torch.int64}.get(kind, torch.bool))
    for reduction in REDUCTIONS[:3]:
        for control in (None, el.EntropyBonus(0.1), el.KLCov(fraction=0.2), el.STEER()):
            mine = fused(head, el.PPOClip(), control, reduction=reduction)
            agree(head, mine, exact.loss(head, el.PPOClip(), control, reduction=reduction))


@pytest.mark.parametrize("on", ["current", "old"])
@pytest.mark.parametrize("kind", [el.ClipCov, el.KLCov])
def test_covariances_of_either_policy(on, kind, make_head, fused, exact, agree):
    head = make_head(seed=5)
    control = kind(fraction=0.2, covariance_on=on)
    mine, theirs = (f(head, el.PPOClip(), control) for f in (fused, exact.loss))
    assert torch.equal(mine.tokens["selected"], theirs.tokens["selected"])
    agree(head, mine, theirs)


def test_one_advantage_a_response(method, make_head, fused, exact, agree):
    head = make_head(seed=6)
    head.advantages = head.advantages[:, 0].contiguous()
    ids = torch.tensor([40, -7, 2**40])
    mine, theirs = (f(head, method.surrogate, method.control, sample_ids=ids) for f in (fused, exact.loss))
    agree(head, mine, theirs)


def test_settings_of_the_head(method, make_head, fused, exact, agree):
    head = make_head(seed=7)
    head.tokens = head.tokens % 9
    settings = {"temperature": 0.6, "softcap": 2.0, "vocab_size": 9}
    mine, theirs = (f(head, method.surrogate, method.control, **settings) for f in (fused, exact.loss))
    agree(head, mine, theirs, rtol=1e-9)
