from __future__ import annotations

import numpy as np
import pytest

from entropylab.analysis.cluster_bootstrap import (
    CutSums,
    bootstrap,
    cluster_error,
    cluster_sums,
    make_clusters,
    percentile_interval,
    resamples,
)


def test_clusters_are_prompts_then_responses_then_unknown():
    prompts, samples = np.array([7, 7, 3]), np.array([1, 2, 3])
    assert make_clusters(3, prompts, samples).kind == "prompt"
    assert make_clusters(3, prompts, samples).codes.tolist() == [1, 1, 0]
    assert make_clusters(3, None, samples).count == 3
    unknown = make_clusters(3)
    assert unknown.kind == "token"
    assert not unknown.known
    assert make_clusters(3, prompts).sizes.tolist() == [1, 2]


def test_sums_by_cluster():
    sums = cluster_sums(np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0]]), np.array([1, 0, 1]), 2)
    assert sums.tolist() == [[2, 20], [5, 50]]


def test_sums_before_cuts_by_hand():
    values, codes = np.array([5.0, 3.0, 2.0, 1.0]), np.array([0, 1, 0, 1])
    weight, total = CutSums.of(values, codes, 2, np.array([1, 3])).at(np.array([2.0, 1.0]))
    assert weight.tolist() == [2, 5, 6]
    assert total.tolist() == [10, 17, 18]


def test_resamples_draw_as_many_clusters_and_repeat_with_the_seed():
    first, again = list(resamples(9, 20, seed=3)), list(resamples(9, 20, seed=3))
    assert all(counts.sum() == 9 for counts in first)
    assert np.array_equal(first, again)
    assert not np.array_equal(first, list(resamples(9, 20, seed=4)))


def test_bootstrap_error_of_a_mean_agrees_with_its_formula():
    rng = np.random.default_rng(0)
    effects = rng.normal(size=200)
    codes = np.repeat(np.arange(200), 10)
    values = np.repeat(effects, 10) + rng.normal(size=2000)
    sums = cluster_sums(values, codes, 200)[:, 0]
    draws = bootstrap(lambda counts: np.array([counts @ sums / 2000]), 200, 2000, seed=1)
    error = cluster_error(values - values.mean(), codes)
    assert draws.std() == pytest.approx(error, rel=0.06)
    assert error == pytest.approx(np.sqrt(np.var(sums / 10, ddof=1) / 200), rel=1e-9)
    assert error > 2 * values.std() / np.sqrt(2000), "tokens of a cluster are not independent"


def test_cluster_error_of_single_tokens_is_the_standard_error():
    values = np.array([1.0, 4.0, 6.0, 9.0])
    expected = values.std(ddof=1) / 2
    assert cluster_error(values - values.mean(), np.arange(4)) == pytest.approx(expected)
    assert cluster_error(values - values.mean(), np.zeros(4, dtype=int)) == 0


def test_percentile_interval_is_missing_where_replicates_are():
    draws = np.column_stack([np.arange(101.0), np.full(101, np.nan)])
    low, high = percentile_interval(draws, 0.9)
    assert (low[0], high[0]) == pytest.approx((5, 95))
    assert np.isnan([low[1], high[1]]).all()
