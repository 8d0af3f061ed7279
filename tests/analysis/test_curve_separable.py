"""Nonlinear forms on NIST's certified sets (https://www.itl.nist.gov/div898/strd/nls/nls_main.shtml)."""

from __future__ import annotations

import numpy as np
import pytest

from entropylab.analysis.curve_forms import FORMS
from entropylab.analysis.curve_separable import SeparableModel, fit_separable

LOGISTIC = next(form for form in FORMS if form.name == "logistic").model


def saturating(x, theta):
    return -np.expm1(-theta[0] * x)[:, None]


def saturating_slopes(x, theta):
    return (x * np.exp(-theta[0] * x))[None, :, None]


def power(x, theta):
    return (x ** theta[0])[:, None]


def power_slopes(x, theta):
    return (x ** theta[0] * np.log(x))[None, :, None]


EXPONENTIAL = SeparableModel(saturating, saturating_slopes, (-50.0,), (50.0,))
POWER = SeparableModel(power, power_slopes, (-50.0,), (50.0,))

# name: model, x, y, the two starting points of the nonlinear parameters, certified values, standard errors
NIST = {
    "Misra1a": (
        EXPONENTIAL,
        [77.6, 114.9, 141.1, 190.8, 239.9, 289.0, 332.8, 378.4, 434.8, 477.3, 536.8, 593.1, 689.1, 760.0],
        [10.07, 14.73, 17.94, 23.93, 29.61, 35.18, 40.02, 44.82, 50.76, 55.05, 61.01, 66.40, 75.47, 81.78],
        [[1e-4], [5e-4]],
        [2.3894212918e02, 5.5015643181e-04],
        [2.7070075241, 7.2668688436e-06],
    ),
    "BoxBOD": (
        EXPONENTIAL,
        [1, 2, 3, 5, 7, 10],
        [109, 149, 149, 191, 213, 224],
        [[1.0], [0.75]],
        [2.1380940889e02, 5.4723748542e-01],
        [1.2354515176e01, 1.0455993237e-01],
    ),
    "DanWood": (
        POWER,
        [1.309, 1.471, 1.490, 1.565, 1.611, 1.680],
        [2.138, 3.421, 3.597, 4.340, 4.882, 5.660],
        [[5.0], [4.0]],
        [7.6886226176e-01, 3.8604055871],
        [1.8281973860e-02, 5.1726610913e-02],
    ),
    "Rat42": (  # b1 / (1 + exp(b2 - b3 x)); our logistic is b / (1 + exp(c x - d))
        LOGISTIC,
        [9, 14, 21, 28, 42, 57, 63, 70, 79],
        [8.93, 10.80, 18.59, 22.33, 39.35, 56.11, 61.73, 64.62, 67.08],
        [[-1.0, -0.1], [-2.5, -0.07]],
        [7.2462237576e01, -2.6180768402, -6.7359200066e-02],
        [1.7340283401, 8.8295217536e-02, 3.4465663377e-03],
    ),
}


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("name", list(NIST))
def test_certified_to_seven_digits(name, start):
    model, x, y, starts, values, errors = NIST[name]
    fit = fit_separable(model, np.array(x, dtype=float), np.array(y, dtype=float), [starts[start]])
    np.testing.assert_allclose([*fit.coef, *fit.theta], values, rtol=1e-7)
    np.testing.assert_allclose([*fit.se_coef, *fit.se_theta], errors, rtol=1e-7)
