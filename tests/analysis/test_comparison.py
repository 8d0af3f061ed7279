from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import entropylab as el
from entropylab.analysis.comparison import compare_runs, mean_interval, welch_interval, widened
from entropylab.analysis.comparison_figures import METRICS
from entropylab.analysis.comparison_matched import Curves, matched_values
from entropylab.errors import InvalidInputError


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compare")
    made = [
        make_run(folder / f"{method}-s{seed}", method=method, seed=seed, steps=14)
        for method in ("baseline", "clip_cov")
        for seed in (0, 1)
    ]
    return {run.name: run for run in made}


@pytest.fixture(scope="module")
def result(runs):
    return compare_runs(runs.values())


def test_figures_of_a_run_follow_their_definition(runs, result):
    run = runs["clip_cov-s1"]
    row = result.runs.set_index("run").loc["clip_cov-s1"]
    steps, evaluations = run.steps(), run.evaluations()
    for metric in ("accuracy", "accuracy_greedy", "pass@8"):
        values = evaluations[evaluations["metric"] == metric].sort_values("step")["value"]
        assert row[f"{metric}_end"] == pytest.approx(values.tail(4).mean())
        assert row[f"{metric}_start"] == values.iloc[0]
    assert row["entropy_start"] == steps["entropy_token_mean"].iloc[0]
    assert row["entropy_end"] == pytest.approx(steps["entropy_token_mean"].tail(10).mean())
    assert row["selected_share"] == pytest.approx(steps["selected_count"].sum() / steps["n_tokens"].sum())
    weights = steps["n_tokens"] / steps["n_tokens"].sum()
    assert row["covariance_mean"] == pytest.approx((steps["covariance_mean"] * weights).sum())


def test_methods_have_t_intervals_over_seeds(result):
    values = result.runs.set_index("run").loc[["baseline-s0", "baseline-s1"], "entropy_end"]
    row = result.methods.set_index(["method", "metric"]).loc[("baseline", "entropy_end")]
    expected = stats.t.interval(0.95, 1, loc=values.mean(), scale=values.std() / np.sqrt(2))
    assert (row["n_runs"], row["mean"]) == (2, pytest.approx(values.mean()))
    assert (row["low"], row["high"]) == pytest.approx(expected)


def test_differences_are_paired_by_seed(result):
    runs = result.runs.set_index("run")["accuracy_end"]
    gaps = [runs[f"clip_cov-s{s}"] - runs[f"baseline-s{s}"] for s in (0, 1)]
    row = result.differences.set_index("metric").loc["accuracy_end"]
    assert (row["pairs"], row["difference"]) == (2, pytest.approx(np.mean(gaps)))
    assert row["high"] - row["difference"] == pytest.approx(12.706 * abs(gaps[0] - gaps[1]) / 2, rel=1e-4)
    assert set(result.differences["method"]) == {"clip_cov"}
    assert set(result.differences["metric"]) == set(METRICS)


def test_without_matching_seeds_the_interval_is_of_unpaired_runs(runs, make_run, tmp_path):
    other = [make_run(tmp_path / f"s{s}", method="placebo", seed=s, steps=14) for s in (7, 8)]
    table = compare_runs([*runs.values(), *other]).differences
    row = table[(table["method"] == "placebo") & (table["metric"] == "entropy_end")].iloc[0]
    assert row["pairs"] == 0
    assert row["low"] < row["difference"] < row["high"]


def test_one_run_has_no_interval_and_says_so(runs):
    found = compare_runs([runs["baseline-s0"]])
    assert found.methods["low"].isna().all()
    assert "one run, no interval" in found.summary()
    assert any("one run only of baseline" in w for w in found.warnings)
    assert found.differences.empty
    assert "interval" in found.summary().splitlines()[0]


def test_no_baseline_no_differences(runs):
    found = compare_runs([runs["clip_cov-s0"], runs["clip_cov-s1"]])
    assert found.differences.empty
    assert any('method "baseline"' in w for w in found.warnings)


def test_a_run_without_evaluations_has_missing_values_and_a_warning(tmp_path, runs):
    with el.Recorder(tmp_path / "bare", method="bare") as recorder:
        recorder.record(
            0,
            None,
            logprobs=np.full((2, 3), -0.5),
            advantages=np.array([1.0, -1.0]),
            mask=np.ones((2, 3)),
        )
        recorder.end_step(0)
    found = compare_runs([runs["baseline-s0"], el.open_run(tmp_path / "bare")])
    row = found.runs.set_index("run").loc["bare"]
    assert np.isnan(row["accuracy_end"])
    assert "bare holds no evaluations, so its accuracies are missing" in found.warnings
    assert "bare holds no entropy" in found.warnings
    assert any("different steps" in w for w in found.warnings)
    assert "missing" in found.summary()
    rows = {r["run"]: r for r in json.loads(json.dumps(found.to_dict(), allow_nan=False))["runs"]}
    assert rows["bare"]["accuracy_end"] is None


@pytest.fixture
def scored(tmp_path):
    """Runs of two methods that hold a reward and an entropy of their own, and no accuracy."""
    made = []
    for method, values in (("baseline", [0.2, 0.5, 0.9]), ("clip_cov", [0.4, 0.6, 1.0])):
        with el.Recorder(tmp_path / method, method=method) as recorder:
            for step in range(2):
                recorder.record(
                    step,
                    None,
                    logprobs=np.full((2, 3), -0.5),
                    advantages=np.array([1.0, -1.0]),
                    mask=np.ones((2, 3)),
                    entropy=np.full((2, 3), 1.0 - 0.5 * step),
                )
                recorder.end_step(step)
            for step, value in enumerate(values):
                recorder.evaluate(step, metric="reward", value=value, n=20)
                recorder.evaluate(step, metric="entropy", value=1.0, n=20)
        made.append(el.open_run(tmp_path / method))
    return made


def test_without_accuracies_the_metrics_that_were_evaluated_are_compared(scored):
    found = compare_runs(scored)
    assert (found.metrics, found.shown) == (("reward",), ("entropy", "reward"))
    row = found.differences.set_index("metric").loc["reward_end"]
    assert row["difference"] == pytest.approx(0.8 - 0.7)
    assert not any("accuracy" in note for note in found.warnings)
    assert "reward at equal steps (2) +0.133" in found.summary()
    assert "nan" not in found.summary()
    assert found.matched["wide_low"].isna().all()


def test_the_start_is_not_in_the_mean_of_the_end(scored):
    row = compare_runs(scored).runs.set_index("run").loc["baseline"]
    assert (row["reward_start"], row["reward_end"]) == (0.2, pytest.approx(0.7))
    assert (row["entropy_start"], row["entropy_end"]) == (1.0, 0.5)


def test_runs_that_share_a_seed_are_not_paired(runs, make_run, tmp_path):
    twin = make_run(tmp_path / "twin", method="baseline", seed=0, steps=14)
    found = compare_runs([*runs.values(), twin])
    assert any("not paired by seed" in w for w in found.warnings)
    assert set(found.differences["pairs"]) == {1}


def test_different_starts_are_not_paired_and_are_named(make_run, tmp_path):
    a = make_run(tmp_path / "a", method="baseline", steps=4, config={"start": "A"})
    b = make_run(tmp_path / "b", method="clip_cov", steps=4, config={"start": "B"})
    found = compare_runs([a, b])
    assert set(found.differences["pairs"]) == {0}
    assert any("different points (A, B)" in w for w in found.warnings)


def test_summary_gives_numbers_and_no_praise(result):
    text = result.summary()
    first = text.splitlines()[0]
    assert first.startswith("clip_cov less baseline, 2 pairs of seeds: entropy +")
    assert " to " in first
    assert "better" not in text


def test_nothing_to_compare_is_an_error(runs):
    with pytest.raises(InvalidInputError, match="no run"):
        compare_runs([])
    with pytest.raises(InvalidInputError, match="level"):
        compare_runs(runs.values(), level=2)


def test_intervals_against_scipy():
    rng = np.random.default_rng(0)
    a, b = rng.normal(1, 1, 5), rng.normal(0, 3, 4)
    mean, low, high = mean_interval(a, 0.9)
    assert (low, high) == pytest.approx(stats.t.interval(0.9, 4, loc=mean, scale=stats.sem(a)))
    gap, low, high = welch_interval(a, b, 0.9)
    expected = stats.ttest_ind(a, b, equal_var=False).confidence_interval(0.9)
    assert (gap, low, high) == pytest.approx((a.mean() - b.mean(), expected.low, expected.high))
    assert np.isnan(mean_interval(a[:0], 0.9)).all()
    assert np.isnan(welch_interval(a[:1], b, 0.9)[1:]).all()


# --- at equal steps, tokens and entropy


def _curves(places, accuracy):
    places = {name: np.asarray(values, float) for name, values in places.items()}
    empty = np.full(len(accuracy), np.nan)
    return Curves(
        places, {"accuracy": np.asarray(accuracy, float), "accuracy_greedy": empty, "pass@8": empty}
    )


def test_values_where_both_runs_have_been():
    steps = np.arange(0, 100, 10)
    long = _curves({"steps": steps, "tokens": 5 * steps, "entropy": 1 - steps / 100}, steps / 100)
    short = _curves(
        {"steps": steps[:6], "tokens": 9 * steps[:6], "entropy": 1 - steps[:6] / 200}, steps[:6] / 50
    )
    table = pd.DataFrame({"method": ["a", "b"]})
    x, at_steps = matched_values([long, short], table, "steps")
    assert (x, at_steps["accuracy"].tolist()) == (50, pytest.approx([0.35, 0.7]))
    x, at_tokens = matched_values([long, short], table, "tokens")
    assert (x, at_tokens["accuracy"].tolist()) == (450, pytest.approx([0.75, 0.7]))
    x, at_entropy = matched_values([long, short], table, "entropy")
    assert x == 0.75
    assert at_entropy["accuracy"].tolist() == pytest.approx([0.25, 0.8])


def test_a_run_that_starts_below_the_entropy_has_no_value_there():
    curves = _curves({"steps": [0, 10], "tokens": [0, 10], "entropy": [0.2, 0.1]}, [0.5, 0.6])
    assert np.isnan(curves.value("entropy", 0.4, "accuracy"))
    assert curves.value("entropy", 0.2, "accuracy") == pytest.approx(0.55)


def test_equal_steps_is_the_end_where_runs_end_together(result):
    end = result.differences.set_index("metric").loc["accuracy_end"]
    rows = result.matched[result.matched["metric"] == "accuracy"].set_index("at")
    assert list(rows.index) == ["steps", "tokens", "entropy"]
    for name in ("difference", "low", "high"):
        assert rows.loc["steps", name] == pytest.approx(end[name])
    assert rows.loc["steps", "wide_low"] < rows.loc["steps", "low"] or rows.loc["steps", "pairs"] == 2
    assert "at equal entropy" in result.summary()


def test_problems_widen_an_interval_by_their_own_variance():
    low, high = widened(0.1, 0.1 - 4.303 * 0.01, 0.1 + 4.303 * 0.01, (0.5, 0.6), 400, 2, 0.95)
    variance = 0.01**2 + (0.25 + 0.24) / 400
    freedom = 2 * (variance / 0.01**2) ** 2
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, freedom) * np.sqrt(variance), rel=1e-3)
    assert (low + high) / 2 == pytest.approx(0.1)
    assert np.isnan(widened(0.1, np.nan, np.nan, (0.5, 0.6), 400, 1, 0.95)).all()


def test_runs_without_evaluations_have_no_matched_value(make_run, tmp_path):
    made = [make_run(tmp_path / m, method=m, steps=3, prompts=6) for m in ("baseline", "clip_cov")]
    for file in (tmp_path / "clip_cov" / "evaluations").rglob("*.json"):
        file.unlink()
    found = compare_runs([el.open_run(run.path) for run in made]).matched
    assert found["difference"].isna().all()
