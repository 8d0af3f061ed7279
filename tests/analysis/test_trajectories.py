from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from entropylab.analysis.trajectories import evaluation_series, over_seeds, smoothed, step_series
from entropylab.errors import InvalidInputError, UnknownNameError

STEPS = pd.DataFrame({"step": [0, 1, 2, 3], "n_tokens": [10, 20, 30, 40], "h": [4.0, np.inf, 2.0, 1.0]})
EVALUATIONS = pd.DataFrame(
    {
        "step": [4, 0, 2, 2],
        "split": ["validation", "validation", "validation", "test"],
        "metric": "accuracy",
        "value": [0.5, 0.1, np.nan, 0.9],
        "n": 100,
    }
)


def test_step_series_counts_the_tokens_before_each_step_and_drops_infinity() -> None:
    series = step_series(STEPS.sample(frac=1.0, random_state=0), "h")
    assert series["tokens"].tolist() == [0, 10, 30, 60]
    assert series["value"].tolist()[::2] == [4.0, 2.0]
    assert np.isnan(series["value"][1])


def test_an_evaluation_sees_the_tokens_of_earlier_steps_only() -> None:
    series = evaluation_series(EVALUATIONS, STEPS, "accuracy")
    assert series["step"].tolist() == [0, 2, 4]
    assert series["tokens"].tolist() == [0, 30, 100]
    assert series["n"].tolist() == [100, 100, 100]
    assert np.isnan(series["value"][1])


@pytest.mark.parametrize(
    "call", [lambda: step_series(STEPS, "x"), lambda: evaluation_series(EVALUATIONS, STEPS, "x")]
)
def test_an_unknown_quantity_is_named(call) -> None:
    with pytest.raises(UnknownNameError, match="'x'"):
        call()


def test_smoothing_is_the_centred_mean_and_keeps_gaps() -> None:
    series = pd.DataFrame({"step": range(5), "tokens": range(5), "value": [0.0, 3.0, np.nan, 6.0, 9.0]})
    value = smoothed(series, 3)["value"].to_numpy()
    np.testing.assert_allclose(value, [1.5, 1.5, np.nan, 7.5, 7.5])
    np.testing.assert_allclose(smoothed(series, 1)["value"], series["value"])
    sparse = series.assign(step=[0, 10, 20, 30, 40])
    np.testing.assert_allclose(smoothed(sparse, 9)["value"], series["value"])
    np.testing.assert_allclose(smoothed(sparse, 21)["value"], value)
    with pytest.raises(InvalidInputError, match="window is 0"):
        smoothed(series, 0)


def test_over_seeds_gives_mean_and_extremes_of_the_common_steps() -> None:
    one = pd.DataFrame({"step": [0, 1, 2], "tokens": [0, 10, 20], "value": [1.0, 2.0, 3.0]})
    two = pd.DataFrame({"step": [0, 1], "tokens": [0, 14], "value": [3.0, 5.0]})
    both = over_seeds([one, two])
    assert both.to_dict("list") == {
        "step": [0, 1],
        "tokens": [0.0, 12.0],
        "value": [2.0, 3.5],
        "low": [1.0, 2.0],
        "high": [3.0, 5.0],
        "n_runs": [2, 2],
    }
    with pytest.raises(InvalidInputError, match="no series"):
        over_seeds([])
