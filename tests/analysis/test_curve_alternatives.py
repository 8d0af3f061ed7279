from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import optimize

from entropylab.analysis.curve import fit_curve
from entropylab.analysis.curve_alternatives import compare_forms
from entropylab.analysis.curve_forms import FORMS
from entropylab.errors import InsufficientDataError

BY_NAME = {form.name: form for form in FORMS}


def draw(truth, m=240, seed=0, rho=0.5, sd=0.01):
    rng = np.random.default_rng(seed)
    times = np.arange(m)
    entropy = 0.03 + 0.9 * np.exp(-times / 60)
    factor = np.linalg.cholesky(rho ** np.abs(times[:, None] - times))
    return entropy, truth(entropy) + sd * factor @ rng.normal(size=m)


TRUTHS = {
    "law": lambda h: 0.6 - 0.2 * np.exp(h),
    "linear": lambda h: 0.5 - 0.4 * h,
    "power": lambda h: 0.5 - 0.4 * h**0.3,
    "logistic": lambda h: 0.5 / (1 + np.exp(12 * h - 5)),
    "exponential": lambda h: 0.5 - 0.01 * np.exp(4 * h),
}


@pytest.mark.quick("law", "logistic")
@pytest.mark.parametrize("name", list(TRUTHS))
def test_the_true_form_is_among_the_best(name):
    found = compare_forms(*draw(TRUTHS[name]))
    assert found[name].delta_aicc < 4
    assert found[name].rmse < 0.013
    assert found.rows[0].delta_aicc == 0
    assert found.rows[-1].name == "last value"
    assert found[name].ceiling == pytest.approx(TRUTHS[name](np.zeros(1))[0], abs=0.06)


def test_parameters_of_an_exact_exponential_and_logistic():
    entropy = np.linspace(1.2, 0.05, 60)
    free = compare_forms(entropy, 0.5 - 0.03 * np.expm1(2.5 * entropy) / 2.5)["exponential"]
    assert free.parameters == pytest.approx({"b": 0.5, "a": 0.03, "c": 2.5}, rel=1e-6)
    logistic = compare_forms(entropy, 0.7 / (1 + np.exp(4 * entropy - 2)))["logistic"]
    assert logistic.parameters == pytest.approx({"b": 0.7, "d": 2.0, "c": 4.0}, rel=1e-6)


@pytest.mark.parametrize("name", [form.name for form in FORMS if form.parameters[2:]])
def test_slopes_are_the_derivatives(name):
    form, h, step = BY_NAME[name], np.linspace(0.05, 1.5, 9), 1e-6
    for theta in (np.array(start) for start in (*form.starts, [1e-5] * len(form.starts[0]))):
        if name == "power":
            theta = np.maximum(theta, 0.1)
        slopes = form.model.slopes(h, theta)
        for j in range(len(theta)):
            shift = step * np.eye(len(theta))[j]
            up, down = form.model.basis(h, theta + shift), form.model.basis(h, theta - shift)
            np.testing.assert_allclose(slopes[j], (up - down) / (2 * step), atol=2e-8)


def test_criterion_is_that_of_the_dense_likelihood():
    entropy, performance = draw(TRUTHS["law"], m=60)
    found = compare_forms(entropy, performance)["law"]
    times, m = np.arange(60.0), 60
    from entropylab.analysis.smoothing import smooth

    x = np.column_stack([np.ones(m), np.exp(smooth(times, entropy).values)])

    def minus_two_log_likelihood(rho):
        v = rho ** np.abs(times[:, None] - times) if rho else np.eye(m)
        theta = np.linalg.solve(x.T @ np.linalg.solve(v, x), x.T @ np.linalg.solve(v, performance))
        rest = performance - x @ theta
        return m * np.log(rest @ np.linalg.solve(v, rest) / m) + np.linalg.slogdet(v)[1]

    best = optimize.minimize_scalar(minus_two_log_likelihood, bounds=(0, 0.99), method="bounded")
    assert found.rho == pytest.approx(best.x, abs=2e-3)
    assert found.aicc == pytest.approx(best.fun + 2 * 4 + 2 * 4 * 5 / (m - 5), abs=1e-4)


def test_prediction_from_a_part_is_ordinary_least_squares():
    entropy, performance = draw(TRUTHS["law"], m=80)
    found = compare_forms(entropy, performance)
    from entropylab.analysis.smoothing import smooth

    h = smooth(np.arange(80.0), entropy).values
    slope, intercept = np.polyfit(h[:20], performance[:20], 1)
    error = np.sqrt(np.mean((performance[20:] - intercept - slope * h[20:]) ** 2))
    assert found["linear"].early[0.25] == pytest.approx(error)
    slope, intercept = np.polyfit(h[40:], performance[40:], 1)
    error = np.sqrt(np.mean((performance[:40] - intercept - slope * h[:40]) ** 2))
    assert found["linear"].late[0.5] == pytest.approx(error)
    assert found["last value"].early[0.5] == pytest.approx(
        np.sqrt(np.mean((performance[40:] - performance[39]) ** 2))
    )


def test_small_parts_are_left_out_and_small_sets_refused():
    entropy, performance = draw(TRUTHS["law"], m=36)
    found = compare_forms(entropy, performance)
    assert found["law"].early[0.1] is None
    assert found["law"].early[0.25] is not None
    with pytest.raises(InsufficientDataError, match="8 points, 5 given"):
        compare_forms(entropy[:5], performance[:5])


def test_of_a_fit_as_text_frame_and_json():
    fit = fit_curve(*draw(TRUTHS["law"], m=60))
    found = fit.alternatives
    assert found is fit.alternatives
    assert found.summary().startswith("The law's AICc is")
    assert list(found.to_frame()["name"])[-1] == "last value"
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert {row["name"] for row in plain["rows"]} == {*BY_NAME, "last value"}
    json.dumps(fit.to_dict(), allow_nan=False)


def test_constant_performance_does_not_break_it():
    found = compare_forms(draw(TRUTHS["law"], m=40)[0], np.full(40, 0.3))
    assert found["law"].ceiling == pytest.approx(0.3)
