"""Predicted against observed change: each form by hand, the line against NumPy, its size by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.analysis.dynamics import cumulated
from entropylab.analysis.dynamics_series import dynamics_series, response_covariances
from entropylab.analysis.robust_line import robust_line
from entropylab.errors import InsufficientDataError


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("dynamics") / "r", steps=30, prompts=12, group=4)


@pytest.fixture(scope="module")
def tokens(run):
    return pa.Table.from_batches(list(run.tokens())).to_pandas()


def _steps_as(monkeypatch, run, frame):
    monkeypatch.setattr(type(run), "steps", lambda self, by="step": frame)


def test_every_form_is_the_covariance_by_hand(run, tokens):
    series = dynamics_series(run).set_index("step")
    steps = run.steps().set_index("step")
    assert np.array_equal(series["token_npg"], steps["covariance_mean"])
    for step in (0, 7, 29):
        rows = tokens[tokens["step"] == step]
        l = rows["old_logprob"].fillna(rows["logprob"]).to_numpy(np.float64)
        a = rows["advantage"].to_numpy(np.float64)
        assert series.loc[step, "token_pg"] == pytest.approx(np.cov(l, np.exp(l) * a, bias=True)[0, 1])
        by_prompt = []
        for _, group in rows.assign(l=l, a=a).groupby("prompt_id"):
            means = group.groupby("sample_id")[["l", "a"]].mean()
            if len(means) > 1:
                x, y = means["l"].to_numpy(), means["a"].to_numpy()
                by_prompt.append([np.cov(x, z, bias=True)[0, 1] for z in (y, np.exp(x) * y)])
        found = series.loc[step, ["response_npg", "response_pg"]].to_numpy(np.float64)
        np.testing.assert_allclose(found, np.mean(by_prompt, axis=0), rtol=1e-9)


def test_drops_are_differences_of_recorded_entropies(run):
    series, steps = dynamics_series(run), run.steps()
    h = steps["entropy_token_mean"].to_numpy()
    np.testing.assert_allclose(series["between"].to_numpy()[:-1], h[:-1] - h[1:])
    assert np.isnan(series["between"].iloc[-1])
    after = steps["entropy_after_token_mean"].to_numpy(dtype=float)
    np.testing.assert_allclose(series["same_states"], h - after)


def test_a_gap_in_the_steps_has_no_drop(run, monkeypatch):
    _steps_as(monkeypatch, run, run.steps().drop(index=[4, 5]))
    series = dynamics_series(run).set_index("step")
    assert np.isnan(series.loc[3, "between"])
    assert np.isfinite(series.loc[6, "between"])


def test_responses_alone_with_their_prompt_do_not_count():
    l, a = np.array([-1.0, -2.0, -3.0, -0.5]), np.array([1.0, 0.0, -1.0, 2.0])
    prompts, samples = np.array([0, 0, 0, 9]), np.array([1, 1, 2, 3])
    natural, _ = response_covariances(l, a, np.ones(4), prompts, samples)
    assert natural == pytest.approx(np.cov([-1.5, -3.0], [0.5, -1.0], bias=True)[0, 1])
    assert np.isnan(response_covariances(l[3:], a[3:], np.ones(1), prompts[3:], samples[3:])).all()


def test_without_prompt_ids_the_forms_within_prompts_are_unknown_and_it_is_said(tmp_path):
    rng = np.random.default_rng(0)
    with el.Recorder(tmp_path / "r") as recorder:
        for step in range(3):
            recorder.record(
                step,
                logprobs=-rng.random((8, 5)),
                advantages=rng.normal(size=8),
                mask=np.ones((8, 5), bool),
                entropy=np.ones((8, 5)),
            )
    found = el.entropy_dynamics(el.open_run(tmp_path / "r"))
    assert found.series["token_pg"].notna().all()
    assert found.series[["response_npg", "response_pg"]].isna().all(axis=None)
    assert any("need prompt_ids" in text for text in found.warnings)


def test_weights_count_as_tokens():
    rng = np.random.default_rng(0)
    l, a, w = -rng.random(40), rng.normal(size=40), rng.integers(1, 4, 40)
    prompts, samples = np.arange(40) // 10, np.arange(40) // 5
    repeated = [np.repeat(x, w) for x in (l, a, prompts, samples)]
    whole = response_covariances(*repeated[:2], np.ones(w.sum()), *repeated[2:])
    np.testing.assert_allclose(response_covariances(l, a, w.astype(float), prompts, samples), whole)


def test_the_report(run):
    found = el.entropy_dynamics(run)
    fit = found.fit("between", "token_npg", 5)
    series = found.series.dropna(subset=["between", "token_npg"])
    blocks = series.groupby(series["step"] // 5)
    assert fit["n"] == (blocks.size() == 5).sum()
    assert np.isnan(fit["slope"]), "fewer than 12 windows give no line"
    plain = found.fit("between", "token_npg", 1)
    x, y = series["token_npg"], series["between"]
    assert (plain["slope"], plain["intercept"]) == pytest.approx(tuple(np.polyfit(x, y, 1)))
    assert plain["r"] == pytest.approx(np.corrcoef(x, y)[0, 1])
    between = found.cumulative[found.cumulative["observed"] == "between"].iloc[0]
    assert between["r"] == pytest.approx(np.corrcoef(x.cumsum(), y.cumsum())[0, 1])
    assert "nearly automatic" in found.summary()
    assert found.to_dict()["fits"][0]["observed"] == "same_states"
    assert el.entropy_dynamics(run).cumulative.equals(found.cumulative)


def test_a_drop_that_follows_the_covariance_gives_its_step_size(run, monkeypatch):
    steps = run.steps()
    h = 1.0 - 0.3 * np.concatenate([[0.0], np.cumsum(steps["covariance_mean"])[:-1]])
    _steps_as(monkeypatch, run, steps.assign(entropy_token_mean=h))
    fit = el.entropy_dynamics(run).fit("between", "token_npg", 1)
    assert fit["slope"] == pytest.approx(0.3)
    assert fit["r"] == pytest.approx(1.0)


def test_too_little_is_told(make_run, tmp_path):
    run = make_run(tmp_path / "short", steps=2, prompts=4)
    with pytest.raises(InsufficientDataError, match="2 steps have an entropy"):
        el.entropy_dynamics(run)


def test_cumulated_curves_end_together_and_leave_out_what_is_not_known():
    series = pd.DataFrame(
        {"step": [0, 1, 2, 3], "between": [1.0, np.nan, 2.0, 3.0], "token_npg": [0.5, 1.0, 0.5, 1.0]}
    )
    sums = cumulated(series, "between", "token_npg")
    assert sums["step"].tolist() == [0, 2, 3]
    assert sums["observed"].tolist() == [1.0, 3.0, 6.0]
    assert sums["predicted"].tolist() == [1.5, 3.0, 6.0]
    assert sums["shuffled"].iloc[-1] == 6.0
    assert len(cumulated(series.iloc[:0], "between", "token_npg")) == 0


def test_controls_are_told(make_run, tmp_path):
    run = make_run(tmp_path / "clip", method="clip_cov", steps=4, prompts=6)
    assert any("the update was not" in text for text in el.entropy_dynamics(run).warnings)


def test_a_sample_of_the_tokens_gives_estimates_and_says_so(make_run, tmp_path, run):
    sampling = el.TokenSampling.uniform(0.7, seed=1)
    sampled = make_run(tmp_path / "s", steps=30, prompts=12, group=4, token_sampling=sampling)
    found, exact = el.entropy_dynamics(sampled), el.entropy_dynamics(run)
    assert found.series["estimated"].all()
    assert not exact.series["estimated"].any()
    assert any("weighted estimates" in text for text in found.warnings)
    assert found.series["token_npg"].equals(exact.series["token_npg"])
    both = np.corrcoef(found.series["token_pg"], exact.series["token_pg"])[0, 1]
    assert both > 0.8


def test_plot(run):
    pytest.importorskip("matplotlib")
    assert el.entropy_dynamics(run).plot().get_xlabel() == "mean covariance of the step"


# --- the line


def _autoregression(rng, n, rho):
    e = rng.normal(size=n + 50)
    for i in range(1, len(e)):
        e[i] += rho * e[i - 1]
    return e[50:]


@pytest.mark.parametrize(("rho", "least"), [(0.0, 0.92), (0.5, 0.90), (0.8, 0.86)])
def test_the_interval_holds_its_level_with_correlated_noise(rho, least):
    rng, inside = np.random.default_rng(1), 0
    for _ in range(400):
        x, e = (_autoregression(rng, 120, rho) for _ in range(2))
        line = robust_line(x, 0.5 * x + e)
        inside += line.low <= 0.5 <= line.high
    assert inside / 400 >= least


@pytest.mark.parametrize(("x", "y"), [(np.arange(11.0), np.arange(11.0)), (np.ones(20), np.arange(20.0))])
def test_a_line_that_cannot_be_told_is_nan(x, y):
    assert np.isnan(robust_line(x, y).slope)


def test_an_exact_line_has_no_width():
    line = robust_line(np.arange(20.0), 3 * np.arange(20.0) + 1)
    assert (line.slope, line.intercept, line.r) == pytest.approx((3, 1, 1))
    assert line.high - line.low < 1e-9
