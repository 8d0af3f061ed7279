"""Each fault of other implementations as a mutant: the property holds here, its check fails on the mutant.

The mutants are small plain forms of the losses with faults left in; a check that a mutant passes would be
worth nothing.
"""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch

from entropylab.errors import EntropylabError
from entropylab.losses.collective import select_tokens
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import ImportanceSampling, PPOClip

KL, BAND = KLCov(fraction=0.05), ClipCov(fraction=0.05, low=0.2, high=9.0)
NAN = float("nan")
QUADRANTS = [f"selected/{name}" for name in ("high_above", "high_below", "low_above", "low_below")]
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def batch(make_tokens):
    """One advantage a response, as in GRPO."""
    tokens = make_tokens(12, 60, seed=4)
    rewards = torch.rand(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    advantages = ((rewards - rewards.mean()) / rewards.std()).unsqueeze(1).expand(12, 60).clone()
    return SimpleNamespace(
        logprobs=tokens.logprobs.detach(),
        old_logprobs=tokens.old_logprobs,
        advantages=advantages,
        mask=tokens.mask,
        ids=torch.arange(12),
    )


def _rows(batch, rows):
    return SimpleNamespace(**{name: value[rows] for name, value in vars(batch).items()})


def _with(batch, **changed):
    return SimpleNamespace(**{**vars(batch), **changed})


# --- the two sides: a batch and a control in; loss, gradient, chosen tokens and metrics out


def ours(batch, control, *, whole=None, surrogate=None):
    """policy_loss; with ``whole``, on a selection made on that larger batch."""
    surrogate = surrogate or (ImportanceSampling() if isinstance(control, KLCov) else PPOClip())
    settings = {"control": control, "surrogate": surrogate, "sample_ids": batch.ids, "validate": False}
    if whole is not None:
        columns = (whole.logprobs, whole.old_logprobs, whole.advantages, whole.mask)
        settings["selection"] = select_tokens(
            control, *columns, sample_ids=whole.ids, surrogate=surrogate, validate=False
        )
    leaf = batch.logprobs.clone().requires_grad_()
    out = policy_loss(leaf, batch.old_logprobs, batch.advantages, batch.mask, **settings)
    out.loss.backward()
    metrics = {name.removeprefix("entropylab/"): value for name, value in out.metrics.items()}
    return SimpleNamespace(
        loss=out.loss.detach(), gradient=leaf.grad, chosen=out.tokens["selected"], metrics=metrics
    )


def mutant(batch, control, *, whole=None, surrogate=None):
    """The same losses in the way that is common elsewhere, with all of the faults."""
    leaf, mask = batch.logprobs.clone().requires_grad_(), batch.mask.double()
    difference = leaf - batch.old_logprobs
    ratio, n = torch.exp(difference), mask.sum()
    mean_l, mean_a = ((x * mask).sum() / n for x in (leaf.detach(), batch.advantages))
    covariance = (batch.advantages - mean_a) * (leaf.detach() - mean_l)
    chosen = torch.zeros_like(batch.mask)
    valid = batch.mask.nonzero()
    k = max(1, int(control.fraction * len(valid)))
    if isinstance(control, KLCov):
        per_token = -batch.advantages * ratio
        top = valid[torch.topk(covariance[batch.mask], min(k, len(valid))).indices]
        chosen[top[:, 0], top[:, 1]] = True
        per_token = torch.where(chosen, per_token + control.beta * difference.abs(), per_token)
        metrics = {"kl/k1": difference.detach().abs()[batch.mask].mean()}
    else:
        first = -batch.advantages * ratio
        second = -batch.advantages * ratio.clamp(0.8, 1.2)
        clipped = (second > first) & batch.mask
        band = (covariance > control.low) & (covariance < control.high) & batch.mask & ~clipped
        places = band.nonzero()
        drawn = places[torch.randperm(len(places))[:k]]
        chosen[drawn[:, 0], drawn[:, 1]] = True
        per_token = torch.maximum(first, second) * (~chosen).double()
        metrics = {"clipped/fraction": (clipped | chosen).double().sum() / n}
    metrics["selected/fraction"] = torch.tensor(control.fraction)
    loss = (per_token * mask).sum() / n
    loss.backward()
    return SimpleNamespace(loss=loss.detach(), gradient=leaf.grad, chosen=chosen, metrics=metrics)


# --- one check for each fault: true where the implementation is free of it


def micro_batches_choose_what_the_batch_chooses(run, batch):
    """1: statistics and ranks of the micro-batch."""
    expected = run(batch, KL).chosen
    parts = [run(_rows(batch, rows), KL, whole=batch).chosen for rows in batch.ids.split(3)]
    return torch.equal(torch.cat(parts), expected)


def one_response_chooses_by_covariance(run, batch):
    """2: one response a micro-batch: all covariances are 0, and the first tokens are taken."""
    expected = run(batch, KL).chosen
    richest = int(expected.sum(1).argmax())
    return torch.equal(run(_rows(batch, [richest]), KL, whole=batch).chosen, expected[[richest]])


def the_effective_fraction_shows(run, batch):
    """3: floor and at least one distort the fraction in silence."""
    small = ClipCov(fraction=1e-4, low=0.0, high=9.0)
    out = run(batch, small)
    effective = float(out.chosen.sum()) / float(batch.mask.sum())
    return math.isclose(float(out.metrics["selected/fraction"]), effective)


def who_is_chosen_shows(run, batch):
    """4: nothing says in which quadrant the chosen tokens lie."""
    out = run(batch, BAND)
    return all(name in out.metrics for name in QUADRANTS) and (
        sum(int(out.metrics[name]) for name in QUADRANTS) == int(out.chosen.sum()) > 0
    )


def a_scale_free_choice_exists(run, batch):
    """5: absolute bounds alone, which depend on the scale of the advantages."""
    top = ClipCov(fraction=0.05, low=0.2, high=9.0, select="top")
    scaled = _with(batch, advantages=64.0 * batch.advantages)
    return torch.equal(run(batch, top).chosen, run(scaled, top).chosen)


def three_calls_agree(run, batch):
    """6: the draw comes from the global generator."""
    return len({float(run(batch, BAND).loss) for _ in range(3)}) == 1


def garbage_outside_the_mask_leaves_the_gradient(run, batch):
    """7: NaN times 0 is NaN."""
    logprobs = torch.where(batch.mask, batch.logprobs, NAN)
    return all(
        bool(torch.isfinite(run(_with(batch, logprobs=logprobs), c).gradient).all()) for c in (KL, BAND)
    )


def an_empty_mask_gives_zero(run, batch):
    """7: division by the number of valid tokens."""
    out = run(_with(batch, mask=torch.zeros_like(batch.mask)), BAND)
    return float(out.loss) == 0.0 and not out.gradient.any()


def a_large_log_ratio_stays_finite(run, batch):
    """7: exp without a clamp."""
    old = batch.old_logprobs.clone()
    old[0, 0] -= 1000.0
    return bool(torch.isfinite(run(_with(batch, old_logprobs=old), KL).loss))


def a_nan_is_not_ranked_first(run, batch):
    """7: topk takes NaN for the highest."""
    logprobs, mask = batch.logprobs.clone(), batch.mask.clone()
    logprobs[1, 1], mask[1, 1] = NAN, False
    without = run(_with(batch, mask=mask), KL).chosen
    return torch.equal(run(_with(batch, logprobs=logprobs), KL).chosen, without)


def the_clipped_fraction_is_that_of_the_ratio_clip(run, batch):
    """9: dropped tokens counted as clipped."""
    clipped = ours(batch, None, surrogate=PPOClip()).metrics["clipped/fraction"]
    return float(run(batch, BAND).metrics["clipped/fraction"]) == float(clipped)


def k1_is_the_mean_log_ratio(run, batch):
    """9: mean |D| under the name of a KL."""
    difference = (batch.logprobs - batch.old_logprobs)[batch.mask]
    return math.isclose(float(run(batch, KL).metrics["kl/k1"]), -float(difference.mean()), rel_tol=1e-9)


CHECKS = [
    micro_batches_choose_what_the_batch_chooses,
    one_response_chooses_by_covariance,
    the_effective_fraction_shows,
    who_is_chosen_shows,
    a_scale_free_choice_exists,
    three_calls_agree,
    garbage_outside_the_mask_leaves_the_gradient,
    an_empty_mask_gives_zero,
    a_large_log_ratio_stays_finite,
    a_nan_is_not_ranked_first,
    the_clipped_fraction_is_that_of_the_ratio_clip,
    k1_is_the_mean_log_ratio,
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_it_holds_here(check, batch):
    assert check(ours, batch)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_its_check_catches_the_mutant(check, batch):
    torch.manual_seed(0)
    assert not check(mutant, batch)


def test_8_the_watcher_of_syncs_catches_the_mutant(batch, no_host_sync):
    with no_host_sync():
        ours(batch, BAND, whole=batch)
        with pytest.raises(AssertionError, match="waits for the device"):
            mutant(batch, BAND)


@pytest.mark.parametrize("settings", [{"fraction": 1.5}, {"fraction": 0.0}, {"low": 5.0, "high": 1.0}])
def test_7_nonsense_settings_raise(settings):
    with pytest.raises(EntropylabError):
        ClipCov(**settings)


def test_10_the_plain_form_without_the_faults_agrees(batch):
    """On a clean batch the mutant's KL-Cov is the same loss: its faults are what the checks see."""
    right, wrong = ours(batch, KL), mutant(batch, KL)
    torch.testing.assert_close(wrong.loss, right.loss)
    torch.testing.assert_close(wrong.gradient, right.gradient)
