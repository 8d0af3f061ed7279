"""Random effects against hand-computed numbers, their coverage, and the trend with size of the paper."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from entropylab.analysis.curve import fit_curve
from entropylab.analysis.curve_runs import pool_curves, size_trend
from entropylab.errors import InsufficientDataError, InvalidInputError

PAPER = {
    0.36: (0.044, 0.192),
    1.31: (0.096, 0.351),
    2.77: (0.176, 0.480),
    6.53: (0.211, 0.598),
    31.0: (0.237, 0.691),
}
"""Qwen2.5 on mathematics: parameters (1e9) -> a, b, read off the drawn curves of arXiv 2505.22617."""


@pytest.fixture(scope="module")
def fit():
    rng = np.random.default_rng(0)
    entropy = 0.02 + 0.5 * np.exp(-np.arange(40) / 12)
    return fit_curve(entropy, 0.6 - 0.2 * np.exp(entropy) + 0.003 * rng.normal(size=40))


def _fits(fit, ceilings, errors):
    return [
        replace(fit, a=0.2, b=0.2 + c, ceiling=c, se_a=e, se_b=e, se_ceiling=e, withheld=None)
        for c, e in zip(ceilings, errors, strict=True)
    ]


def test_random_effects_by_hand(fit):
    y, se = np.array([0.40, 0.46, 0.43, 0.52]), np.array([0.02, 0.03, 0.02, 0.04])
    found = pool_curves(_fits(fit, y, se)).terms.set_index("term").loc["ceiling"]
    w = 1 / se**2
    q = w @ (y - w @ y / w.sum()) ** 2
    tau2 = (q - 3) / (w.sum() - (w**2).sum() / w.sum())
    v = 1 / (se**2 + tau2)
    mean = v @ y / v.sum()
    error = np.sqrt(v @ (y - mean) ** 2 / (3 * v.sum()))
    assert found["tau"] == pytest.approx(np.sqrt(tau2))
    assert found["mean"] == pytest.approx(mean)
    assert found["high"] - mean == pytest.approx(stats.t.ppf(0.975, 3) * error)
    assert found["new_high"] - mean == pytest.approx(stats.t.ppf(0.975, 2) * np.sqrt(tau2 + error**2))


def test_the_interval_holds_the_mean_of_runs_that_differ(fit):
    rng, inside = np.random.default_rng(1), 0
    for _ in range(300):
        se = rng.uniform(0.01, 0.03, 5)
        y = 0.4 + 0.03 * rng.normal(size=5) + se * rng.normal(size=5)
        row = pool_curves(_fits(fit, y, se)).terms.set_index("term").loc["ceiling"]
        inside += row["low"] <= 0.4 <= row["high"]
    assert inside / 300 >= 0.92


def test_what_is_left_out_is_told(fit):
    fits = _fits(fit, [0.4, 0.42, 0.5], [0.01, 0.01, 0.01])
    found = pool_curves([*fits[:2], replace(fits[2], withheld="curved")])
    assert (found.n_runs, found.n_given) == (2, 3)
    assert "1 of 3 fits withhold" in found.warnings[0]
    assert np.isnan(found.terms["new_low"]).all()
    assert "over 2 runs" in found.summary()
    assert found.to_dict()["terms"][0]["term"] == "a"
    with pytest.raises(InsufficientDataError, match="1 of 2 fits"):
        pool_curves([fits[0], replace(fits[1], withheld="curved")])


def test_the_trend_with_size_of_the_paper(fit):
    fits = [replace(fit, a=a, b=b, ceiling=b - a) for a, b in PAPER.values()]
    found = size_trend(fits, list(PAPER)).set_index("term")
    assert found.loc["a", ["intercept", "slope"]].tolist() == pytest.approx([0.101, 0.046], abs=1e-3)
    assert found.loc["b", ["intercept", "slope"]].tolist() == pytest.approx([0.333, 0.116], abs=1e-3)
    line = stats.linregress(np.log(list(PAPER)), [b for _, b in PAPER.values()])
    half = stats.t.ppf(0.975, 3) * line.stderr
    assert found.loc["b", "high"] - found.loc["b", "slope"] == pytest.approx(half)
    assert found.loc["b", "p"] == pytest.approx(line.pvalue)


@pytest.mark.parametrize(
    ("sizes", "error", "message"),
    [
        ([1, 2], InvalidInputError, "one size a fit"),
        ([1, 2, -3], InvalidInputError, "positive"),
        ([5, 5, 5], InvalidInputError, "different size"),
    ],
)
def test_bad_sizes_are_named(fit, sizes, error, message):
    with pytest.raises(error, match=message):
        size_trend([fit] * 3, sizes)


def test_two_runs_have_no_trend(fit):
    with pytest.raises(InsufficientDataError, match="2 runs"):
        size_trend([fit, fit], [1, 2])
