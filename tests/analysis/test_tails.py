from __future__ import annotations

import dataclasses
import json
import time

import numpy as np
import pytest
from scipy import stats

import entropylab as el
from entropylab.analysis.tails import analyze_tails
from entropylab.errors import InsufficientDataError, InvalidInputError
from entropylab.schema import QUADRANTS, TOP_FRACTIONS


@pytest.fixture(scope="module")
def batch(rollout_batch):
    return rollout_batch(np.random.default_rng(0), prompts=160, length=40, coupling=0.2)


@pytest.fixture(scope="module")
def report(batch):
    return analyze_tails(**batch, n_bootstrap=100)


def test_moments_are_those_of_the_population(batch, report):
    c = batch["covariance"]
    assert (report.n, report.n_prompts, report.cluster_kind) == (len(c), 160, "prompt")
    assert report.mean == pytest.approx(c.mean())
    assert report.std == pytest.approx(c.std())
    assert report.skew == pytest.approx(stats.skew(c))
    assert report.kurtosis == pytest.approx(stats.kurtosis(c))


def test_every_top_mean_lies_in_its_interval_and_beside_its_null(report):
    table = report.concentration
    assert table["fraction"].tolist() == list(TOP_FRACTIONS)
    assert (table["low"] <= table["top_mean"]).all()
    assert (table["top_mean"] <= table["high"]).all()
    right = report.nulls[report.nulls["tail"] == "right"]
    assert right["observed"].tolist() == table["top_mean"].tolist()
    assert np.allclose(right["ratio"], right["observed"] / right["independent"])
    assert ((right["ratio_low"] < right["ratio"]) & (right["ratio"] < right["ratio_high"])).all()
    assert (right["error"] == 0).all()


def test_the_null_is_that_of_permuted_tokens(batch, report):
    """A permuted over tokens, many times over, approaches the exact value without Monte Carlo error."""
    rng = np.random.default_rng(1)
    l = batch["logprobs"] - batch["logprobs"].mean()
    a = batch["advantages"] - batch["advantages"].mean()
    right = report.nulls[(report.nulls["tail"] == "right") & (report.nulls["fraction"] == 0.02)].iloc[0]
    means = [np.sort(l * rng.permutation(a))[::-1][: right["k"]].mean() for _ in range(40)]
    assert right["independent"] == pytest.approx(np.mean(means), rel=5e-3)


def test_left_is_the_right_of_the_mirrored_covariance(batch, report):
    mirrored = analyze_tails(
        -batch["covariance"],
        **{**drop(batch, "covariance"), "advantages": -batch["advantages"]},
        n_bootstrap=100,
    )
    for name in ("estimates", "nulls"):
        ours, theirs = getattr(report, name), getattr(mirrored, name)
        left = ours[ours["tail"] == "left"].drop(columns="tail").to_numpy()
        np.testing.assert_allclose(left, theirs[theirs["tail"] == "right"].drop(columns="tail").to_numpy())
    assert report.left_shape == mirrored.verdict[0]


def test_estimates_keep_at_least_200_exceedances(report):
    assert (report.estimates["k"] >= 200).all()
    assert set(report.estimates["tail"]) == {"right", "left"}
    inside = report.estimates[["gpd_low", "gpd", "gpd_high"]].to_numpy()
    assert (np.diff(inside, axis=1) > -0.05).all()


def test_quadrants_of_all_tokens_and_of_the_top(batch, report):
    table = report.quadrants.set_index(["set", "quadrant"])
    assert table.loc["all"]["count"].sum() == report.n
    assert table.loc["all"]["mass"].sum() == pytest.approx(batch["covariance"].sum())
    assert table.loc["top 2 %"]["count"].sum() == int(np.ceil(0.02 * report.n))
    assert table.loc["top 2 %"].index.tolist() == list(QUADRANTS)


def test_survival_curves_fall_and_match_the_definition(batch, report):
    for tail, sign in (("right", 1), ("left", -1)):
        rows = report.survival[report.survival["tail"] == tail]
        values = sign * batch["covariance"]
        expected = [(values > x).mean() for x in rows["x"]]
        np.testing.assert_allclose(rows["observed"], expected, atol=1.5 / report.n)
        assert (np.diff(rows["independent"]) <= 1e-15).all()


def test_without_margins_the_second_line_cannot_be_said(batch):
    report = analyze_tails(batch["covariance"], prompt_ids=batch["prompt_ids"])
    assert report.verdict[1] == "cannot say"
    assert report.quadrants.empty
    assert report.nulls["independent"].isna().all()


def test_without_prompts_responses_are_drawn_with_a_warning(batch):
    report = analyze_tails(**drop(batch, "prompt_ids"), n_bootstrap=60)
    assert report.cluster_kind == "response"
    assert report.n_prompts is None
    assert "prompts are unknown" in report.warnings[0]


def test_without_clusters_there_is_no_interval(batch):
    report = analyze_tails(**drop(batch, "prompt_ids", "sample_ids"))
    assert report.verdict[:2] == ("too few clusters", "cannot say")
    assert report.concentration["low"].isna().all()
    assert "no interval" in report.verdict[2]
    assert "neither prompts nor responses" in report.warnings[0]


def test_one_prompt_gives_no_interval(batch):
    report = analyze_tails(**{**batch, "prompt_ids": np.zeros(len(batch["covariance"]), dtype=int)})
    assert report.verdict[:2] == ("too few clusters", "cannot say")
    assert report.nulls["ratio_low"].isna().all()


def test_small_batches_have_no_index_and_say_so(rollout_batch):
    report = analyze_tails(**rollout_batch(np.random.default_rng(0), prompts=60, group=4, length=6))
    assert report.n < 4000
    assert report.estimates.empty
    assert report.verdict[0] == "too few clusters"
    assert "Too few tokens" in report.explanations[0]


def test_margins_that_do_not_give_the_covariance_are_reported(batch):
    report = analyze_tails(**{**batch, "covariance": 2 * batch["covariance"]}, n_bootstrap=60)
    assert "not the centred product" in report.warnings[0]


def test_advantages_of_zero_cannot_be_judged(batch):
    zero = np.zeros(len(batch["covariance"]))
    report = analyze_tails(**{**batch, "advantages": zero}, n_bootstrap=60)
    assert report.verdict[1] == "cannot say"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"covariance": np.array([])}, InsufficientDataError, "0 tokens"),
        ({"covariance": np.full(100, 0.5)}, InsufficientDataError, "0.5 for all 100 tokens"),
        ({"covariance": np.r_[np.nan, np.arange(99.0)]}, InvalidInputError, r"covariance\[0\] is nan"),
        ({"logprobs": np.r_[np.arange(99.0), -np.inf]}, InvalidInputError, r"logprobs\[99\] is -inf"),
        ({"advantages": np.arange(99.0)}, InvalidInputError, "advantages holds 99 values"),
        ({"covariance": np.ones((10, 10))}, InvalidInputError, r"shape \(10, 10\)"),
        ({"prompt_ids": np.arange(3)}, InvalidInputError, "prompt_ids has shape"),
        ({"prompt_ids": np.full(100, np.nan)}, InvalidInputError, "not finite"),
        ({"covariance": np.array(["a"] * 100)}, InvalidInputError, "must hold numbers"),
        ({"n_bootstrap": 10}, InvalidInputError, "n_bootstrap is 10"),
        ({"level": 95}, InvalidInputError, "level is 95"),
    ],
)
def test_bad_input_is_a_named_error(change, error, words):
    with pytest.raises(error, match=words):
        analyze_tails(**({"covariance": np.arange(100.0)} | change))


def test_results_are_frozen_strict_json_and_text(report):
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.n = 3
    plain = json.loads(json.dumps(report.to_dict(), allow_nan=False))
    assert plain["verdict"] == list(report.verdict)
    assert plain["concentration"][2]["top_share_net"] == report.top_share_net[0.02]
    first, *rest = report.summary().splitlines()
    assert first == report.explanations[2]
    assert "% of the positive mass (" in first
    assert rest[1].startswith(report.verdict[0])


def test_a_seed_gives_the_same_report(batch):
    first, again = (analyze_tails(**batch, seed=5, n_bootstrap=60).to_dict() for _ in range(2))
    assert first == again
    assert first != analyze_tails(**batch, seed=6, n_bootstrap=60).to_dict()


def test_float32_and_lists_are_taken(batch):
    single = {k: v.astype(np.float32) if v.dtype == np.float64 else v.tolist() for k, v in batch.items()}
    assert analyze_tails(**single, n_bootstrap=60).warnings == ()


def test_the_front_door_gives_the_same_function():
    assert el.analyze_tails is analyze_tails


def test_a_hundred_thousand_tokens_take_seconds(rollout_batch):
    batch = rollout_batch(np.random.default_rng(3), prompts=500, length=26)
    start = time.process_time()
    analyze_tails(**batch)
    assert len(batch["covariance"]) > 1e5
    assert time.process_time() - start < 8


def drop(batch, *names):
    return {name: value for name, value in batch.items() if name not in names}


def test_progress_goes_from_0_to_1():
    rng = np.random.default_rng(0)
    prompts, samples = np.repeat(np.arange(30), 60), np.repeat(np.arange(180), 10)
    l, a = -rng.exponential(size=1800), rng.normal(size=180)[samples]
    seen = []
    given = {"logprobs": l, "advantages": a, "prompt_ids": prompts, "sample_ids": samples}
    analyze_tails((l - l.mean()) * (a - a.mean()), **given, n_bootstrap=50, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1.0
