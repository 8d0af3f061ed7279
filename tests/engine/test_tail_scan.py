"""The scan of the tail against sorting every value; the same over every engine."""

from __future__ import annotations

import math
import os

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.engine.tail_scan import QUANTILES, scan_tails
from entropylab.errors import FileChangedError, InsufficientDataError


@pytest.fixture(scope="module")
def rows(recorded) -> pd.DataFrame:
    names = ["step", "prompt_id", "covariance"]
    return pa.Table.from_batches(list(recorded.tokens(columns=names))).to_pandas()


def test_equal_to_sorting_every_value(recorded, rows):
    found = scan_tails(recorded, workers=1)
    x = np.sort(rows["covariance"].to_numpy(np.float64))
    assert found.n == len(x)
    assert found.mean == pytest.approx(x.mean(), rel=1e-12)
    assert found.std == pytest.approx(x.std(), rel=1e-12)
    assert found.kurtosis == pytest.approx(((x - x.mean()) ** 4).mean() / x.var() ** 2 - 3, rel=1e-9)
    assert found.quantiles["value"].tolist() == np.quantile(x, QUANTILES, method="inverted_cdf").tolist()
    for row in found.top.itertuples():
        assert row.k == max(1, math.ceil(row.fraction * len(x)))
        assert row.threshold == x[-row.k]
        assert row.top_mean == math.fsum(x[-row.k :]) / row.k
        assert row.share_positive == pytest.approx(x[-row.k :].sum() / x[x > 0].sum(), rel=1e-12)
    for row in found.survival.itertuples():
        assert row.share == pytest.approx((x >= row.x).mean(), abs=1e-15)
    assert (np.diff(found.survival["x"]) > 0).all()


def test_prompts_by_hand(recorded, rows):
    found = scan_tails(recorded, workers=1)
    threshold = found.top.set_index("fraction").loc[0.02, "threshold"]
    inside = (rows["covariance"] >= np.float32(threshold)).groupby([rows["step"], rows["prompt_id"]]).sum()
    ranked = np.sort(inside.to_numpy())[::-1]
    assert found.n_prompts == len(ranked)
    assert found.tenth_share == pytest.approx(ranked[: round(len(ranked) / 10)].sum() / ranked.sum())


@pytest.mark.long
def test_the_same_to_the_bit_over_every_engine(recorded, engines):
    found = [scan_tails(recorded, engine=engine).to_dict() for engine in engines.values()]
    assert found[0] == found[1] == found[2]


def test_steps_asked_for_alone(recorded, rows):
    found = scan_tails(recorded, steps=[1, 4], workers=1)
    assert found.steps == (1, 4)
    assert found.n == rows["step"].isin([1, 4]).sum()
    assert "2 steps" in found.summary()


def test_sampled_steps_are_left_out_and_none_is_an_error(make_run, tmp_path):
    run = make_run(
        tmp_path / "r", steps=4, prompts=6, group=4, token_sampling=el.TokenSampling(every_steps=2)
    )
    found = scan_tails(run, workers=1)
    assert (found.steps, found.left_out) == ((0, 2), (1, 3))
    assert "2 steps are left out" in found.summary()
    with pytest.raises(InsufficientDataError, match="record without token_sampling"):
        scan_tails(run, steps=[1], workers=1)


def test_a_damaged_step_is_named_and_left_out(run):
    path = run.path / "tokens/step-000003/rank-0001-a1.parquet"
    os.truncate(path, path.stat().st_size // 2)
    found = scan_tails(run, workers=1)
    assert found.steps == (0, 1, 2, 4, 5)
    assert list(found.errors) == [3]
    assert "rank-0001-a1.parquet" in found.summary()


def test_a_step_that_breaks_between_the_passes_is_an_error(run):
    path = run.path / "tokens/step-000003/rank-0001-a1.parquet"

    def break_after_a_third(done: float) -> None:
        if done >= 1 / 3:
            path.unlink(missing_ok=True)

    with pytest.raises(FileChangedError, match="scan again"):
        scan_tails(run, workers=1, progress=break_after_a_third)


def test_values_that_are_not_finite_leave_their_step_out(batch_with_nan, tmp_path):
    with el.Recorder(tmp_path / "r") as recorder:
        for step, value in enumerate([1.0, np.nan]):
            recorder.record(step, **batch_with_nan(value))
    found = scan_tails(el.open_run(tmp_path / "r"), workers=1)
    assert found.steps == (0,)
    assert "not finite" in found.errors[1]


@pytest.fixture
def batch_with_nan():
    def make(value: float) -> dict:
        logprobs = -np.random.default_rng(0).exponential(size=(4, 5)).astype(np.float32)
        logprobs[0, 0] = value
        mask = np.ones((4, 5), bool)
        return {"logprobs": logprobs, "advantages": np.float32([1, -1, 0, 2]), "mask": mask}

    return make
