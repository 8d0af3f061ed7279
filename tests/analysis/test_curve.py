from __future__ import annotations

import json
import time

import numpy as np
import pandas as pd
import pytest
from scipy import stats

import entropylab as el
from entropylab.analysis.curve import fit_curve
from entropylab.errors import InsufficientDataError, InvalidInputError, UnknownNameError

A, B = 0.211, 0.598  # arXiv 2505.22617, figure 1, Qwen2.5-7B as read off the drawn curve

# NIST StRD "Norris" (https://www.itl.nist.gov/div898/strd/lls/data/Norris.shtml), public domain
NORRIS_X = (
    "0.2 337.4 118.2 884.6 10.1 226.5 666.3 996.3 448.6 777.0 558.2 0.4 0.6 775.5 666.9 338.0 447.5 11.6 "
    "556.0 228.1 995.8 887.6 120.2 0.3 0.3 556.8 339.1 887.2 999.0 779.0 11.1 118.3 229.2 669.1 448.9 0.5"
)
NORRIS_Y = (
    "0.1 338.8 118.1 888.0 9.2 228.1 668.5 998.5 449.1 778.9 559.2 0.3 0.1 778.1 668.8 339.3 448.9 10.8 "
    "557.7 228.3 998.0 888.8 119.6 0.3 0.6 557.6 339.3 888.0 998.5 778.9 10.2 117.6 228.9 668.4 449.2 0.2"
)


def numbers(text):
    return np.array([float(word) for word in text.split()])


def example(m=36, seed=0, noise=0.01, tau=40.0):
    rng = np.random.default_rng(seed)
    entropy = 0.018 + 0.53 * np.exp(-np.arange(m) / tau)
    return entropy, B - A * np.exp(entropy) + noise * rng.normal(size=m)


def digits(found, certified):
    return -np.log10(abs(found / certified - 1.0) + 1e-16)


def test_norris_to_eleven_digits():
    fit = fit_curve(np.log(numbers(NORRIS_X)), numbers(NORRIS_Y), method="ols")
    assert digits(fit.b, -0.262323073774029) >= 11
    assert digits(fit.se_b, 0.232818234301152) >= 11
    assert digits(-fit.a, 1.00211681802045) >= 11
    assert digits(fit.se_a, 0.429796848199937e-03) >= 11
    assert digits(fit.residual_sd, 0.884796396144373) >= 11
    assert digits(fit.r2, 0.999993745883712) >= 11


def test_ols_intervals_are_students():
    entropy, performance = example()
    fit = fit_curve(entropy, performance, method="ols")
    x = np.column_stack([np.ones(36), np.exp(entropy)])
    theta = np.linalg.lstsq(x, performance, rcond=None)[0]
    sigma2 = np.sum((performance - x @ theta) ** 2) / 34
    covariance = sigma2 * np.linalg.inv(x.T @ x)
    t = stats.t.ppf(0.975, 34)
    se = np.sqrt(np.ones(2) @ covariance @ np.ones(2))
    assert fit.ceiling == pytest.approx(theta.sum(), rel=1e-12)
    np.testing.assert_allclose(fit.intervals["ceiling"], theta.sum() + t * se * np.array([-1, 1]), rtol=1e-9)
    g = np.array([1.0, np.exp(0.1)])
    forecast = fit.forecast([0.1]).iloc[0]
    half = t * np.sqrt(sigma2 + g @ covariance @ g)
    np.testing.assert_allclose(
        [forecast["low"], forecast["high"]], g @ theta + half * np.array([-1, 1]), rtol=1e-9
    )


def test_the_front_door_and_auto():
    entropy, performance = example()
    fit = el.fit_curve(entropy, performance)
    assert isinstance(fit, el.CurveFit)
    assert fit.method == "grid"
    low, high = fit.intervals["ceiling"]
    assert low < B - A < high
    assert fit.ceiling == pytest.approx(fit.b - fit.a)
    assert fit.form_band[0] < low
    assert fit.form_band[1] > high
    assert fit.withheld is None
    assert fit.ess == pytest.approx(36 * (1 - fit.rho) / (1 + fit.rho))
    assert fit.rmse == pytest.approx(np.sqrt(np.mean((performance - fit.predict(entropy)) ** 2)))


@pytest.mark.parametrize("method", ["grid", "ols", "gls", "huber"])
def test_every_method_finds_an_exact_law(method):
    entropy = np.linspace(1.5, 0.05, 40)
    fit = fit_curve(entropy, B - A * np.exp(entropy), method=method)
    assert fit.a == pytest.approx(A, rel=1e-6)
    assert fit.b == pytest.approx(B, rel=1e-6)
    assert fit.r2 == pytest.approx(1.0)
    assert fit.withheld is None


def test_gls_agrees_with_explicit_whitening():
    entropy, performance = example(m=80, noise=0.0)
    noise = np.zeros(80)
    rng = np.random.default_rng(1)
    for i in range(1, 80):
        noise[i] = 0.7 * noise[i - 1] + 0.01 * rng.normal()
    performance = performance + noise
    fit = fit_curve(entropy, performance, method="gls")
    x = np.column_stack([np.ones(80), np.exp(entropy)])
    wx, wy = x[1:] - fit.rho * x[:-1], performance[1:] - fit.rho * performance[:-1]
    theta = np.linalg.lstsq(wx, wy, rcond=None)[0]
    assert 0.3 < fit.rho < 0.9
    np.testing.assert_allclose([fit.b, -fit.a], theta, rtol=1e-8)
    innovation = np.sum((wy - wx @ theta) ** 2) / 77
    covariance = innovation * np.linalg.inv(wx.T @ wx)
    d = np.array([1.0, np.exp(0.02)]) - fit.rho**2 * x[-1]
    location = fit.rho**2 * performance[-1] + d @ theta
    variance = innovation * (1 - fit.rho**4) / (1 - fit.rho**2) + d @ covariance @ d
    forecast = fit.forecast([0.02], steps=[81]).iloc[0]
    assert forecast["mean"] == pytest.approx(location, rel=1e-8)
    half = stats.t.ppf(0.975, 77) * np.sqrt(variance)
    assert forecast["high"] - forecast["low"] == pytest.approx(2 * half, rel=1e-8)


def test_huber_resists_an_outlier():
    entropy, performance = example(noise=0.004)
    performance[3] += 0.3
    robust, ordinary = (fit_curve(entropy, performance, method=method) for method in ("huber", "ols"))
    assert abs(robust.ceiling - (B - A)) < 0.01 < abs(ordinary.ceiling - (B - A))


@pytest.mark.parametrize("method", ["grid", "ols", "gls", "huber"])
def test_order_of_the_points_does_not_matter_where_steps_are_given(method):
    entropy, performance = example(seed=2)
    steps, order = 4 * np.arange(36), np.random.default_rng(0).permutation(36)
    one = fit_curve(entropy, performance, steps=steps, method=method)
    two = fit_curve(entropy[order], performance[order], steps=steps[order], method=method)
    assert one.to_dict() == two.to_dict()
    assert one.intervals == fit_curve(entropy, performance, method=method).intervals


REFUSED = {
    "only 11 steps": example(m=11),
    "constant": (example()[0], np.full(36, 0.3)),
    "range of 0.05": (np.linspace(0.05, 0.0, 36), example()[1]),
    "3.4 times the range": (np.linspace(0.55, 0.45, 36), B - A * np.exp(np.linspace(0.55, 0.45, 36))),
    "curved": (example()[0], example(noise=0.001)[1] - 0.5 * np.exp(example()[0]) ** 3),
    "may drift": (example()[0], example(noise=0.0)[1] + 0.02 * np.sin(np.arange(36) / 6 + 1)),
}


@pytest.mark.parametrize("reason", list(REFUSED))
def test_interval_is_withheld_and_the_least_squares_line_stays(reason):
    entropy, performance = REFUSED[reason]
    fit = fit_curve(entropy, performance)
    assert reason in fit.withheld
    assert fit.intervals == {"a": None, "b": None, "ceiling": None}
    x = np.column_stack([np.ones_like(entropy), np.exp(entropy)])
    theta = np.linalg.lstsq(x, performance, rcond=None)[0]
    np.testing.assert_allclose([fit.b, -fit.a], theta, atol=1e-9)
    assert reason in fit.summary().splitlines()[0]
    assert fit.forecast([0.0])[["low", "high"]].isna().all(axis=None)
    assert np.isfinite(fit.forecast([0.0])["mean"]).all()
    assert (fit.form_band is not None) == (reason == "curved")
    json.dumps(fit.to_dict(), allow_nan=False)


def test_warnings_before_a_refusal():
    entropy = np.linspace(0.6, 0.42, 36)
    rng = np.random.default_rng(0)
    flat = fit_curve(entropy, 0.3 + 0.05 * rng.normal(size=36))
    assert any("extrapolation" in text for text in flat.warnings)
    assert any("contains 0" in text for text in flat.warnings)
    noise = np.zeros(36)
    for i in range(1, 36):
        noise[i] = 0.6 * noise[i - 1] + 0.01 * rng.normal()
    correlated = fit_curve(example()[0], example(noise=0.0)[1] + noise, method="ols")
    assert any("too narrow" in text for text in correlated.warnings)


@pytest.mark.parametrize(
    ("entropy", "performance", "options", "error", "message"),
    [
        ([0.1, 0.2], [0.1, 0.2], {}, InsufficientDataError, "at least 3"),
        ([], [], {}, InsufficientDataError, "at least 3"),
        ([0.2] * 20, np.arange(20), {}, InsufficientDataError, "constant"),
        ([0.1, np.nan, 0.3], [0.1, 0.2, 0.3], {}, InvalidInputError, r"entropy\[1\] is nan"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, np.inf], {}, InvalidInputError, r"performance\[2\] is inf"),
        ([0.1, 0.2, 0.3], [0.1, 0.2], {}, InvalidInputError, "performance 2"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], {"steps": [1, 2]}, InvalidInputError, "steps 2"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], {"steps": [5, 5, 5]}, InsufficientDataError, "step 5"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], {"level": 95}, InvalidInputError, "0.95"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], {"method": "magic"}, UnknownNameError, "huber"),
        ([0.1, 0.2, 0.3], [10, 20, 30], {"n_problems": 500}, InvalidInputError, "percentages"),
        ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], {"n_problems": 0}, InvalidInputError, "at least 1"),
        ([0.1, 0.2, 900], [0.1, 0.2, 0.3], {}, InvalidInputError, r"entropy\[2\] is 900"),
        ([[0.1, 0.2, 0.3]], [0.1, 0.2, 0.3], {}, InvalidInputError, "vector"),
        (["x", "y", "z"], [0.1, 0.2, 0.3], {}, InvalidInputError, "numbers"),
    ],
)
def test_input_that_cannot_be_fitted_is_named(entropy, performance, options, error, message):
    with pytest.raises(error, match=message):
        fit_curve(entropy, performance, **options)


def test_forecast_steps_must_be_later():
    fit = fit_curve(*example(), steps=np.arange(36))
    with pytest.raises(InvalidInputError, match="step 35 is not after"):
        fit.forecast([0.1], steps=[35])
    with pytest.raises(InvalidInputError, match="1 entropies and 2 steps"):
        fit.forecast([0.1], steps=[36, 37])


def test_forecast_widens_with_the_level_and_counts_from_the_last_step():
    fit = fit_curve(*example(), steps=10 * np.arange(36))
    frame = fit.forecast([0.1, 0.1], steps=[360, 370])
    pd.testing.assert_frame_equal(frame, fit.forecast([0.1, 0.1]))
    assert list(frame.columns) == ["mean", "low", "high"]
    wide = fit.forecast([0.1, 0.1], level=0.99)
    assert (wide["high"] - wide["low"] > frame["high"] - frame["low"]).all()


def test_band_holds_the_line_and_lies_in_the_form_band_at_the_ceiling():
    fit = fit_curve(*example())
    band = fit.band(np.linspace(0, 0.5, 7))
    assert list(band.columns) == ["mean", "low", "high", "form_low", "form_high"]
    np.testing.assert_allclose(band["mean"], fit.predict(np.linspace(0, 0.5, 7)))
    np.testing.assert_allclose(band.loc[0, ["low", "high"]], fit.intervals["ceiling"])
    np.testing.assert_allclose(band.loc[0, ["form_low", "form_high"]], fit.form_band)
    assert (band["low"] < band["mean"]).all()
    assert (band["mean"] < band["high"]).all()


def test_summary_and_dict():
    fit = fit_curve(*example(), n_problems=500)
    first, second = fit.summary().splitlines()[:2]
    assert "conditional on the law" in first
    assert f"{fit.intervals['ceiling'][0]:.4g}" in first
    assert second.startswith("Form band")
    plain = json.loads(json.dumps(fit.to_dict(), allow_nan=False))
    assert plain["intervals"]["a"] == list(fit.intervals["a"])
    assert len(plain["entropy"]) == plain["n_points"] == 36
    assert fit.binomial_sd == pytest.approx(np.sqrt(np.mean(fit.performance * (1 - fit.performance) / 500)))
    assert "line" not in plain


def test_the_points_used_cannot_be_changed():
    fit = fit_curve(*example())
    with pytest.raises(ValueError, match="read-only"):
        fit.entropy[0] = 1.0


def test_lists_frames_and_integers_are_taken():
    entropy, performance = example()
    frame = pd.DataFrame({"h": entropy, "r": performance}, index=np.arange(100, 136))
    assert fit_curve(frame["h"], frame["r"]).ceiling == fit_curve(list(entropy), list(performance)).ceiling


def test_a_fit_takes_milliseconds():
    entropy, performance = example()
    fit_curve(entropy, performance)
    spent = []
    for _ in range(10):
        start = time.process_time()
        fit_curve(entropy, performance)
        spent.append(time.process_time() - start)
    assert min(spent) < 0.05  # about 5 ms on an idle core


def test_a_rising_entropy_with_rising_performance_is_told_without_an_interval_too():
    fit = fit_curve(np.array([0.2, 0.4, 0.6, 0.8]), np.array([0.1, 0.2, 0.3, 0.4]))
    assert fit.withheld is not None
    assert fit.a < 0
    assert any("a is negative (-" in warning for warning in fit.warnings)


@pytest.mark.parametrize("below", [1.0, 3.0])
def test_a_far_ceiling_is_told_with_few_points_too(below):
    x = np.linspace(1 + below * 0.1, 1.1 + below * 0.1, 7)
    fit = fit_curve(np.log(x), B - A * x)
    assert any("extrapolation" in warning for warning in fit.warnings) == (below > 1.0)
