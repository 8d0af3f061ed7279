from __future__ import annotations

import math

import numpy as np
import pytest

from entropylab.analysis.cluster_bootstrap import make_clusters
from entropylab.analysis.concentration import (
    ReweightedTops,
    denominators,
    gini,
    lorenz,
    near_fractions,
    shares,
    top_means,
)
from entropylab.analysis.tails import analyze_tails
from entropylab.record.summary import top_count
from entropylab.schema import TOP_FRACTIONS

FRACTIONS = np.array(TOP_FRACTIONS)


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).laplace(0.01, 1, 12_345)


def partial_mean(descending, count):
    """Mean of the largest `count` values, the last one in part."""
    whole = int(count)
    return (descending[:whole].sum() + (count - whole) * descending[whole]) / count


def test_top_means_follow_the_definition(values):
    ordered = sorted(values, reverse=True)
    for fraction, mean in zip(TOP_FRACTIONS, top_means(np.sort(values)[::-1]), strict=True):
        k = math.ceil(round(fraction * len(values), 9))
        assert mean == pytest.approx(sum(ordered[:k]) / k, rel=1e-12)


def test_shares_name_three_denominators_by_hand():
    c = np.array([6.0, 2.0, -1.0, -3.0, 0.0] * 10)
    report = analyze_tails(c)
    assert report.top_share_positive[0.2] == pytest.approx(60 / 80)
    assert report.top_share_absolute[0.2] == pytest.approx(60 / 120)
    assert report.top_share_net[0.2] == pytest.approx(60 / 40)
    assert report.top_means[0.5] == pytest.approx((60 + 20 + 0 * 5) / 25)


def test_a_share_of_a_sum_that_is_not_positive_is_missing():
    totals = denominators(np.array([1.0, -2.0])).sum(axis=0)
    assert totals.tolist() == [1.0, 3.0, -1.0]
    assert np.isnan(shares(np.array([1.0]), totals)[0, 2])
    assert shares(np.array([1.0]), totals)[0, 0] == 1


def test_table_1_mass_shares_follow_from_its_top_means():
    """arXiv 2505.22617, table 1: the top 2 % hold 36 % of the top half's sum and 9.2 times the net sum."""
    means = dict(zip(TOP_FRACTIONS, (5.654, 3.112, 1.385, 0.351, 0.152), strict=True))
    sums = {f: f * m for f, m in means.items()}
    assert sums[2e-2] / sums[5e-1] == pytest.approx(0.36, abs=0.005)
    assert sums[2e-3] / sums[5e-1] == pytest.approx(0.082, abs=0.0005)
    assert sums[2e-2] / 0.003 == pytest.approx(9.2, abs=0.05)


def test_lorenz_and_gini_by_hand():
    share, mass = lorenz(np.array([3.0, 1.0, -5.0, 0.0]), points=5)
    assert share.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert mass.tolist() == [0, 0.75, 1, 1, 1]
    assert gini(np.array([2.0, -2.0, 2.0])) == pytest.approx(0)
    assert gini(np.array([0.0, 0.0, 0.0, 8.0])) == pytest.approx(0.75)
    pairs = np.abs(np.subtract.outer([1.0, 4.0, 7.0], [1.0, 4.0, 7.0])).sum()
    assert gini(np.array([1.0, -4.0, 7.0])) == pytest.approx(pairs / (2 * 9 * 4))


def test_reweighted_top_means_equal_those_of_the_tokens_written_out(values):
    rng = np.random.default_rng(1)
    clusters = make_clusters(len(values), rng.integers(0, 80, len(values)))
    order = np.argsort(-values)
    tops = ReweightedTops.of(values[order], clusters.codes[order], clusters.count, FRACTIONS)
    for _ in range(5):
        counts = rng.multinomial(80, np.full(80, 1 / 80)).astype(float)
        drawn = np.sort(np.repeat(values, counts[clusters.codes].astype(int)))[::-1]
        expected = [partial_mean(drawn, f * len(drawn)) for f in FRACTIONS]
        np.testing.assert_allclose(tops.top_means(counts), expected, rtol=2e-3)


def test_unit_weights_reproduce_the_top_means(values):
    clusters = make_clusters(len(values), np.arange(len(values)) % 50)
    order = np.argsort(-values)
    share = np.array([top_count(f, len(values)) for f in FRACTIONS]) / len(values)
    tops = ReweightedTops.of(values[order], clusters.codes[order], 50, share)
    np.testing.assert_allclose(tops.top_means(np.ones(50)), top_means(values[order]), rtol=1e-12)
    assert near_fractions(FRACTIONS).max() <= 1
