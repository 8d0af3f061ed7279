from __future__ import annotations

import json

import numpy as np
import pytest

from entropylab.analysis.curve import fit_curve
from entropylab.analysis.curve_forecast import forecast_curve
from entropylab.errors import InsufficientDataError


def run_like(m=240, seed=0):
    rng = np.random.default_rng(seed)
    entropy = 0.018 + 0.53 * np.exp(-np.arange(m) / 40)
    return entropy, 0.598 - 0.211 * np.exp(entropy) + 0.008 * rng.normal(size=m)


def test_forecast_of_the_rest_is_that_of_the_early_fit():
    entropy, performance = run_like()
    found = forecast_curve(entropy, performance, first=36)
    fit = fit_curve(entropy[:36], performance[:36])
    assert found.fit.ceiling == fit.ceiling
    frame = fit.forecast(entropy[36:], steps=np.arange(36, 240))
    np.testing.assert_array_equal(found.points["mean"], frame["mean"])
    assert found.rmse == pytest.approx(np.sqrt(np.mean((frame["mean"] - performance[36:]) ** 2)))
    inside = (frame["low"] <= performance[36:]) & (performance[36:] <= frame["high"])
    assert found.coverage == pytest.approx(inside.mean())
    assert found.coverage > 0.8
    assert found.rmse < found.last_value_rmse
    assert "conditional on the law" in found.summary().splitlines()[0]
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["points"][0]["step"] == 36


def test_first_counts_by_step():
    entropy, performance = run_like(60)
    order = np.random.default_rng(1).permutation(60)
    one = forecast_curve(entropy, performance, first=30)
    two = forecast_curve(entropy[order], performance[order], first=30, steps=order)
    assert one.to_dict() == two.to_dict()


def test_withheld_interval_has_no_coverage():
    found = forecast_curve(*run_like(40), first=6)
    assert found.coverage is None
    assert "withheld" in found.summary()
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["points"][0]["low"] is None


@pytest.mark.parametrize("first", [0, 2, 40, 41])
def test_too_few_on_either_side(first):
    with pytest.raises(InsufficientDataError, match=f"first={first}"):
        forecast_curve(*run_like(40), first=first)
