from __future__ import annotations

import numpy as np

from entropylab.analysis.quadrants import quadrant_codes, quadrant_table
from entropylab.record.summary import centre_of, quadrant_index
from entropylab.schema import QUADRANTS

LOGPROBS = np.array([-0.1, -0.2, -3.0, -2.5, -0.4])
ADVANTAGES = np.array([1.0, -1.0, 1.0, -2.0, 1.0])


def test_counts_masses_and_means_by_hand():
    covariance = np.array([2.0, -1.0, -4.0, 6.0, 1.0])
    codes = quadrant_codes(LOGPROBS - LOGPROBS.mean(), ADVANTAGES - ADVANTAGES.mean())
    table = quadrant_table(covariance, codes, {"all": slice(None), "two": np.array([3, 0])})
    every, two = table[table["set"] == "all"], table[table["set"] == "two"]
    assert every["quadrant"].tolist() == list(QUADRANTS)
    assert every["count"].tolist() == [2, 1, 1, 1]
    assert every["mass"].tolist() == [3, -1, -4, 6]
    assert every["mean_covariance"].tolist() == [1.5, -1, -4, 6]
    assert two["count"].tolist() == [1, 0, 0, 1]
    assert two["share"].tolist() == [0.5, 0, 0, 0.5]
    assert np.isnan(two["mean_covariance"].to_numpy()[1])


def test_the_same_quadrants_as_the_log():
    rng = np.random.default_rng(0)
    l, a = rng.normal(size=500), rng.choice([-1.0, 0.0, 1.0], 500)
    assert np.array_equal(quadrant_codes(l - l.mean(), a - a.mean()), quadrant_index(l, a, centre_of(l, a)))


def test_a_value_at_its_mean_counts_as_above():
    assert quadrant_codes(np.array([0.0]), np.array([0.0])).tolist() == [0]


def test_an_empty_set_has_no_shares():
    table = quadrant_table(np.array([1.0]), np.array([0]), {"none": np.array([False])})
    assert table["count"].tolist() == [0, 0, 0, 0]
    assert table["share"].isna().all()
