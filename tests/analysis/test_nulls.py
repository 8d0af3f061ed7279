from __future__ import annotations

import numpy as np
import pytest

from entropylab.analysis.cluster_bootstrap import make_clusters
from entropylab.analysis.nulls import MAX_ADVANTAGES, IndependentProduct, ReweightedProduct

FRACTIONS = np.array([2e-4, 2e-3, 2e-2, 0.2, 0.5])


def centred(values):
    return np.asarray(values, dtype=float) - np.mean(values)


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(0)
    logprobs = centred(-rng.exponential(1.0, 211))
    advantages = centred(rng.choice([-1.5, -0.4, 0.0, 0.4, 2.5], 211, p=[0.2, 0.3, 0.1, 0.2, 0.2]))
    return logprobs, advantages


@pytest.fixture(scope="module")
def product(sample):
    return np.sort(np.outer(*sample).ravel())[::-1]


def test_survival_is_that_of_the_full_product(sample, product):
    thresholds = np.linspace(-6, 6, 97)
    expected = [(product > c).mean() for c in thresholds]
    np.testing.assert_allclose(IndependentProduct.of(*sample).survival(thresholds), expected, atol=1e-12)


def test_zero_advantages_lie_above_every_negative_threshold():
    null = IndependentProduct.of(np.array([-1.0, 1.0]), np.array([-1.0, 0.0, 0.0, 1.0]))
    assert null.survival(np.array([-2.0, -0.5, 0.0, 0.5, 1.0])).tolist() == [1.0, 0.75, 0.25, 0.25, 0.0]


@pytest.mark.parametrize("fraction", [2e-4, 2e-3, 2e-2, 0.2, 0.5, 1.0])
def test_top_means_are_those_of_the_full_product(sample, product, fraction):
    """The largest f N² products by brute force, the last one in part."""
    count = fraction * len(product)
    whole = int(count)
    expected = product[:whole].sum() + (count - whole) * (product[whole] if whole < len(product) else 0)
    found = IndependentProduct.of(*sample).top_means(np.array([fraction]))[0]
    assert found == pytest.approx(expected / count, rel=1e-9, abs=1e-9)


def test_a_product_by_hand():
    """l in {-3, 1, 1, 1}, a in {-1, 1}: products 3, 1 x3, -1 x3, -3, each 1/8."""
    null = IndependentProduct.of(np.array([-3.0, 1.0, 1.0, 1.0]), np.array([-1.0, 1.0, -1.0, 1.0]))
    assert null.top_means(np.array([0.125, 0.25, 0.5, 1.0])) == pytest.approx([3, 2, 1.5, 0])


def test_reweighted_top_means_equal_those_of_the_tokens_written_out():
    rng = np.random.default_rng(2)
    n = 8000
    logprobs, advantages = centred(-rng.exponential(1, n)), centred(rng.choice([-2.0, -0.5, 0.5, 1.0], n))
    clusters = make_clusters(n, rng.integers(0, 60, n))
    null = IndependentProduct.of(logprobs, advantages)
    reweighted = ReweightedProduct.of(null, clusters, FRACTIONS)
    for _ in range(3):
        counts = rng.multinomial(60, np.full(60, 1 / 60)).astype(float)
        drawn = np.repeat(np.arange(n), counts[clusters.codes].astype(int))
        exact = IndependentProduct.of(logprobs[drawn], advantages[drawn]).top_means(FRACTIONS)
        np.testing.assert_allclose(reweighted.top_means(counts), exact, rtol=2e-3)


def test_merged_advantages_stay_within_the_stated_error():
    rng = np.random.default_rng(3)
    n = MAX_ADVANTAGES + 500
    logprobs, advantages = centred(-rng.exponential(1, n)), centred(rng.normal(0, 1, n))
    null = IndependentProduct.of(logprobs, advantages)
    product = np.sort(np.outer(logprobs, advantages).ravel())[::-1]
    assert len(null.advantages) <= MAX_ADVANTAGES < n
    for fraction in (2e-3, 2e-2, 0.2):
        count = int(fraction * len(product))
        exact = product[:count].mean()
        found = null.top_means(np.array([count / len(product)]))[0]
        assert abs(found - exact) <= null.error(np.array([fraction]))[0]
        assert found == pytest.approx(exact, rel=1e-4)


def test_few_advantages_are_never_merged(sample):
    assert IndependentProduct.of(*sample).error(FRACTIONS).tolist() == [0, 0, 0, 0, 0]
