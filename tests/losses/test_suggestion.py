"""Suggested settings choose the wished number of tokens when they are really applied."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from entropylab.errors import InvalidInputError
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.suggestion import suggest_settings

N_BATCHES = 9


@pytest.fixture
def batches(make_tokens):
    return [make_tokens(16, 200, seed=seed) for seed in range(N_BATCHES)]


def _logged(batches):
    outs = [policy_loss(b.logprobs, b.old_logprobs, b.advantages, b.mask) for b in batches]
    masks = [b.mask for b in batches]
    covariance = np.concatenate([o.tokens["covariance"][m] for o, m in zip(outs, masks, strict=True)])
    clipped = np.concatenate([o.tokens["clipped"][m] for o, m in zip(outs, masks, strict=True)])
    numbers = np.repeat(np.arange(len(batches)), [int(m.sum()) for m in masks])
    return covariance, clipped, numbers


@pytest.mark.parametrize("wished", [1, 7, 40])
def test_the_losses_choose_what_was_wished(batches, wished):
    covariance, clipped, numbers = _logged(batches)
    done = suggest_settings(covariance, wished, batch=numbers, clipped=clipped, pool=5)
    sizes = np.bincount(numbers)
    assert done.tokens == (sizes.min(), np.median(sizes), sizes.max())
    counts = []
    for batch, n in zip(batches, sizes, strict=True):
        columns = (batch.logprobs, batch.old_logprobs, batch.advantages, batch.mask)
        band, top, kl = (
            int(policy_loss(*columns, control=control, validate=False).tokens["selected"].sum())
            for control in (done.clip_cov, done.clip_cov_top, done.kl_cov)
        )
        assert band <= top == kl == max(1, int(done.fraction * n))
        counts.append(band)
    assert done.chosen == (min(counts), np.median(counts), max(counts))
    assert np.median(counts) == wished
    assert done.candidates[1] == pytest.approx(5 * wished, abs=1)
    assert len(done.notes) == (1 if min(counts) < max(1, wished // 2) else 0)


def test_a_sample_of_the_tokens_is_scaled_up(batches):
    covariance, _, numbers = _logged(batches)
    kept = np.random.default_rng(0).random(len(numbers)) < 0.25
    whole = suggest_settings(covariance, 20, batch=numbers)
    part = suggest_settings(
        covariance[kept], 20, batch=numbers[kept], sampling_weight=np.full(int(kept.sum()), 4.0)
    )
    assert part.fraction == pytest.approx(whole.fraction, rel=0.05)
    assert part.low == pytest.approx(whole.low, rel=0.1)


def test_numbers_by_hand():
    done = suggest_settings(np.arange(100.0), 2, pool=3)
    assert done.fraction == 0.025
    assert done.low == 93.5, "six tokens lie above it: 94 to 99"
    assert done.high == 198.0
    assert done.candidates == (6, 6, 6)
    assert done.chosen == (2, 2, 2)
    assert done.kl_cov == KLCov(fraction=0.025)


def test_notes():
    few = suggest_settings(np.array([3.0, *[-1.0] * 40]), 2, pool=4)
    assert "the band reaches down to" in few.notes[0]
    nothing = suggest_settings(np.zeros(40), 2)
    assert any("no covariance is positive" in note for note in nothing.notes)
    numbers = np.repeat([0, 1, 2], [20, 100, 100])
    uneven = suggest_settings(np.arange(220.0), 8, batch=numbers, pool=1)
    assert any("batches hold 20 to 100 tokens" in note for note in uneven.notes)
    assert any("1 of 3 batches would give less than half of the wish" in note for note in uneven.notes)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"covariance": []}, r"covariance has shape \[0\]"),
        ({"covariance": np.ones((3, 2))}, r"covariance has shape \[3, 2\]; give \[n\]"),
        ({"covariance": [1.0, np.nan, 2.0]}, r"covariance\[1\] is nan"),
        ({"batch": [0, 1]}, r"batch has shape \[2\]; covariance has \[30\]"),
        ({"batch": np.zeros(30)}, "batch has dtype float64; give integers"),
        ({"clipped": [True]}, r"clipped has shape \[1\]"),
        ({"sampling_weight": np.full(30, np.inf)}, r"sampling_weight\[0\] is inf"),
        ({"sampling_weight": np.zeros(30)}, "weights are positive"),
        ({"wished": 0}, "wished=0 is not a whole number of at least 1"),
        ({"wished": 2.0}, "wished=2.0 is not a whole number"),
        ({"wished": 30}, "wished=30 of the 30 tokens of the median batch; wish fewer"),
        ({"pool": 0.5}, "pool=0.5 is below 1"),
    ],
)
def test_bad_input_is_named(change, message):
    given = {"covariance": np.arange(30.0), "wished": 2, **change}
    with pytest.raises(InvalidInputError, match=message):
        suggest_settings(given.pop("covariance"), given.pop("wished"), **given)


def test_tensors_of_the_cpu_are_fine():
    assert suggest_settings(torch.arange(100.0), 2, pool=3).low == 93.5
