"""Weighted analyses: a row of weight w is w tokens, and a sampled log estimates the full one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import entropylab as el
from entropylab.analysis.attribution_tables import position_table, quadrants_of, token_table
from entropylab.analysis.concentration import gini, lorenz, top_mask, top_means
from entropylab.analysis.nulls import IndependentProduct
from entropylab.analysis.tail_data import analyze_run, run_tokens, sampling_weights, tail_inputs
from entropylab.errors import InvalidInputError

FRACTIONS = np.array([2e-3, 2e-2, 0.2])


def tokens(seed: int = 0, n: int = 3000) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    prompts = np.repeat(np.arange(n // 50), 50)
    advantages = rng.normal(size=n // 50)[prompts].round(2)
    logprobs = -rng.exponential(size=n)
    l, a = logprobs - logprobs.mean(), advantages - advantages.mean()
    return {"covariance": l * a, "logprobs": l, "advantages": a, "prompt_ids": prompts}


def repeated(x: dict[str, np.ndarray], w: np.ndarray) -> dict[str, np.ndarray]:
    return {name: np.repeat(values, w) for name, values in x.items()}


@pytest.fixture(scope="module")
def both():
    """The same tokens as rows with integer weights and written out."""
    x = tokens()
    w = np.random.default_rng(1).integers(1, 6, len(x["covariance"]))
    settings = {"n_bootstrap": 60, "seed": 3}
    weighted = el.analyze_tails(**x, weights=w, **settings)
    return weighted, el.analyze_tails(**repeated(x, w), **settings), x, w


def test_a_row_of_weight_w_is_w_tokens(both):
    weighted, written_out, _, w = both
    assert weighted.n == written_out.n == w.sum()
    assert (weighted.n_rows, written_out.n_rows) == (len(w), None)
    for name in ("mean", "std", "skew", "kurtosis", "gini"):
        assert getattr(weighted, name) == pytest.approx(getattr(written_out, name), rel=1e-9, abs=1e-9)
    for name in ("top_means", "top_share_positive", "top_share_absolute"):
        assert getattr(weighted, name) == pytest.approx(getattr(written_out, name), rel=1e-9)
    for table in ("quadrants", "lorenz"):
        left, right = getattr(weighted, table), getattr(written_out, table)
        if table == "quadrants":  # the last row of the top reaches beyond it
            left, right = left[left["set"] == "all"], right[right["set"] == "all"]
        pd.testing.assert_frame_equal(left, right, rtol=1e-9)
    columns = ["fraction", "k", "observed", "independent", "ratio"]
    pd.testing.assert_frame_equal(weighted.nulls[columns], written_out.nulls[columns], rtol=1e-8)


def test_intervals_are_those_of_the_clusters(both):
    weighted, written_out, *_ = both
    for column in ("low", "high", "top_share_positive_low", "top_share_positive_high"):
        np.testing.assert_allclose(
            weighted.concentration[column], written_out.concentration[column], rtol=0.01
        )


def test_survival(both):
    weighted, _, x, w = both
    right = weighted.survival[weighted.survival["tail"] == "right"]
    c = np.repeat(x["covariance"], w)
    np.testing.assert_allclose(right["observed"], [(c > v).mean() for v in right["x"]], atol=1e-12)


def test_tail_index_of_weighted_exceedances():
    rng = np.random.default_rng(0)
    x = np.sort(rng.pareto(3.0, 40_000) + 1)[::-1]
    from entropylab.analysis.tail_estimators import Exceedances

    w = np.random.default_rng(2).integers(1, 4, len(x))
    codes = np.arange(len(x)) % 200
    left = Exceedances.of(x, codes, 2000, w.astype(float))
    rows = int(w[:2000].sum())
    right = Exceedances.of(np.repeat(x, w), np.repeat(codes, w), rows)
    np.testing.assert_allclose(left.estimate(), right.estimate(), rtol=1e-6)
    counts = np.random.default_rng(3).multinomial(200, np.full(200, 1 / 200)).astype(float)
    np.testing.assert_allclose(left.replicate(counts), right.replicate(counts), rtol=1e-3)
    assert not left.evenly_drawn
    assert right.evenly_drawn


def test_pure_functions_with_weights_of_one_are_as_without():
    x = tokens(4)
    c, one = x["covariance"], np.ones(len(x["covariance"]))
    down = np.sort(c)[::-1]
    np.testing.assert_allclose(top_means(down, weights=one), top_means(down), rtol=1e-12)
    np.testing.assert_allclose(lorenz(c, weights=one)[1], lorenz(c)[1], rtol=1e-12)
    assert gini(c, one) == pytest.approx(gini(c), rel=1e-12)
    np.testing.assert_array_equal(top_mask(c, 60, one), top_mask(c, 60))
    null = IndependentProduct.of(x["logprobs"], x["advantages"], one)
    plain = IndependentProduct.of(x["logprobs"], x["advantages"])
    np.testing.assert_allclose(null.top_means(FRACTIONS), plain.top_means(FRACTIONS), rtol=1e-12)
    report = el.analyze_tails(**x, weights=one, n_bootstrap=60)
    assert not report.estimated
    assert report.to_dict() == el.analyze_tails(**x, n_bootstrap=60).to_dict()


def test_the_last_row_of_the_top_counts_in_part():
    assert top_means(np.array([5.0, 1.0]), (0.3,), np.array([2.0, 8.0]))[0] == pytest.approx((2 * 5 + 1) / 3)


@pytest.mark.parametrize("weights", [np.zeros(3000), -np.ones(3000), np.ones(5), np.full(3000, np.nan)])
def test_bad_weights(weights):
    with pytest.raises(InvalidInputError, match="weights"):
        el.analyze_tails(**tokens(), weights=weights)


def test_weights_stand_for_exactly_the_tokens_there_were():
    frame = pd.DataFrame({"step": [0, 0, 0, 1, 1], "update": 0, "sampling_weight": [1.0, 4, 4, 4, 4]})
    index = pd.MultiIndex.from_tuples([(0, 0), (1, 0)], names=["step", "update"])
    weights = sampling_weights(frame, pd.Series([11, 6], index=index))
    assert weights.tolist() == [1, 5, 5, 3, 3]
    frame["sampling_weight"] = np.nan
    assert sampling_weights(frame, pd.Series([3, 2], index=index)) is None


def test_attribution_tables_count_by_weight():
    rng = np.random.default_rng(0)
    n = 400
    frame = pd.DataFrame(
        {
            "l": rng.normal(size=n),
            "a": rng.normal(size=n),
            "covariance": rng.normal(size=n),
            "prompt": np.repeat(np.arange(40), 10),
            "token_id": rng.integers(0, 5, n),
            "position": rng.integers(0, 60, n),
        }
    )
    mask, w = rng.random(n) < 0.3, rng.integers(1, 5, n)
    long, long_mask = frame.loc[np.repeat(np.arange(n), w)], np.repeat(mask, w)
    sets, long_sets = {"s": mask}, {"s": long_mask}
    weights = w.astype(float)
    for left, right in (
        (quadrants_of(frame, sets, 0.95, weights), quadrants_of(long, long_sets, 0.95)),
        (token_table(frame, sets, None, 0.95, weights), token_table(long, long_sets, None, 0.95)),
        (
            position_table(frame["position"].to_numpy(), sets, weights),
            position_table(long["position"].to_numpy(), long_sets),
        ),
    ):
        pd.testing.assert_frame_equal(left, right, rtol=1e-9)


SCHEMES = {
    "tokens": {"token_fraction": 0.2},
    "responses": {"response_fraction": 0.3},
    "tail": {"token_fraction": 0.1, "tail_fraction": 0.02, "keep_selected": True},
}


@pytest.fixture(scope="module")
def full(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("full") / "r", steps=2, updates=2)


@pytest.mark.quick("tail")
@pytest.mark.parametrize("name", SCHEMES)
def test_a_sampled_log_estimates_the_full_one(make_run, tmp_path, full, name):
    """Means over 8 seeds of sampling against the full log: within 4 standard errors and 10 %."""
    exact = figures(full)
    draws = []
    for seed in range(8):
        run = make_run(
            tmp_path / str(seed),
            steps=2,
            updates=2,
            token_sampling=el.TokenSampling(seed=seed, **SCHEMES[name]),
        )
        draws.append(figures(run))
    found = np.array(draws)
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - exact) <= 4 * error + 1e-6 * np.abs(exact)).all()
    assert found.mean(axis=0) == pytest.approx(exact, rel=0.1, abs=0.01)


def figures(run: el.Run) -> np.ndarray:
    """Tokens, selected, mean, sd, top means and shares, null, quadrant shares."""
    x = tail_inputs(run)
    report = el.analyze_tails(**x, n_bootstrap=50)
    who = el.attribute(run)
    nulls = report.nulls[report.nulls["tail"] == "right"]["independent"].to_numpy()[2:]
    shares = who.quadrants[who.quadrants["set"] == "all"]["share"].to_numpy()
    top = [report.top_means[f] for f in (0.02, 0.2, 0.5)]
    parts = [report.top_share_positive[0.02], report.top_share_absolute[0.2], report.gini]
    return np.concatenate([[report.n, report.std], top, parts, nulls, shares])


def test_what_lies_in_a_tail_stored_in_full_is_exact(make_run, tmp_path, full):
    run = make_run(
        tmp_path / "r", steps=2, updates=2, token_sampling=el.TokenSampling.tail_and_share(0.05, seed=1)
    )
    report, exact = analyze_run(run, steps=[0], n_bootstrap=60), analyze_run(full, steps=[0], n_bootstrap=60)
    assert report.n == exact.n
    for fraction in (2e-4, 2e-3):
        assert report.top_means[fraction] == pytest.approx(exact.top_means[fraction], rel=1e-9)
    who, everyone = el.attribute(run, steps=[0]), el.attribute(full, steps=[0])
    assert (who.n, who.n_selected) == (everyone.n, everyone.n_selected)


def test_the_summary_says_that_it_is_an_estimate(make_run, tmp_path, full):
    run = make_run(tmp_path / "r", steps=2, token_sampling=el.TokenSampling.tail_and_share(0.1))
    for found in (analyze_run(run, n_bootstrap=60), el.attribute(run)):
        assert f"(estimated from a sample of {len(run_tokens(run).frame):,})" in found.summary()
        assert "weighted by 1 / the probability of inclusion" in found.summary()
        assert found.estimated
        assert found.to_dict()["n_rows"] == len(run_tokens(run).frame)
    for exact in (analyze_run(full, n_bootstrap=60), el.attribute(full)):
        assert "estimated" not in exact.summary()
