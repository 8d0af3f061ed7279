"""The declared columns: documented, unique, and what the frames really hold; the shared test run."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.schema import RESPONSE_COLUMNS, SUMMARY_COLUMNS, TOKEN_COLUMNS


@pytest.mark.parametrize("columns", [TOKEN_COLUMNS, RESPONSE_COLUMNS, SUMMARY_COLUMNS])
def test_columns_are_documented_and_unique(columns):
    assert len({c.name for c in columns}) == len(columns)
    for column in columns:
        assert column.unit
        assert len(column.meaning) > 5, column.name


def test_only_nullable_columns_are_ever_null(make_run, tmp_path):
    run = make_run(tmp_path / "r", steps=2, prompts=6, group=4)
    frame = run.steps(by="update")
    for column in SUMMARY_COLUMNS:
        kind = frame[column.name].dtype.kind
        assert kind == ("M" if pa.types.is_timestamp(column.type) else "i" if not column.nullable else "f")


def test_the_shared_run_is_real_and_deterministic(make_run, tmp_path):
    runs = {m: make_run(tmp_path / m, method=m, seed=1) for m in ("baseline", "clip_cov")}
    again = make_run(tmp_path / "again", method="clip_cov", seed=1)
    pd.testing.assert_frame_equal(
        runs["clip_cov"].steps().drop(columns="recorded_at"), again.steps().drop(columns="recorded_at")
    )
    pd.testing.assert_frame_equal(runs["clip_cov"].evaluations(), again.evaluations())
    entropy = {m: run.steps()["entropy_token_mean"].to_numpy() for m, run in runs.items()}
    assert entropy["baseline"][-1] < 0.7 * entropy["baseline"][0]
    assert entropy["clip_cov"][-1] > entropy["baseline"][-1]
    for run in runs.values():
        assert run.problems() == []
        assert run.info["covariance_set"] == "update"
        assert (run.steps()["n_updates"] == 4).all()
        table = run.evaluations().pivot(index="step", columns="metric", values="value")
        assert list(table.columns) == ["accuracy", "accuracy_greedy", "pass@8"]
        assert list(table.index) == list(range(13))
        assert table["accuracy"].iloc[-1] > table["accuracy"].iloc[0] + 0.3
    assert (runs["clip_cov"].steps()["selected_count"] > 0).all()
    assert (runs["baseline"].steps()["selected_count"] == 0).all()


def test_the_stored_tokens_give_the_summary_again(make_run, tmp_path):
    run = make_run(tmp_path / "r", steps=2, prompts=6, group=4)
    for row in run.steps().itertuples():
        tokens = pa.Table.from_batches(list(run.tokens(steps=row.step))).to_pandas()
        assert tokens["covariance"].astype(np.float64).mean() == pytest.approx(row.covariance_mean, rel=1e-12)
        assert tokens["entropy"].astype(np.float64).mean() == pytest.approx(row.entropy_token_mean, rel=1e-12)
        assert tokens["selected"].sum() == row.selected_count


def test_steps_may_be_any_kind_of_integer_or_iterable(make_run, tmp_path):
    run = make_run(tmp_path / "r", steps=3, prompts=6, group=4)
    rows = {s: sum(b.num_rows for b in run.tokens(steps=s)) for s in range(3)}
    assert sum(b.num_rows for b in run.tokens(steps=np.int64(1))) == rows[1]
    assert sum(b.num_rows for b in run.tokens(steps=iter([0, 2]))) == rows[0] + rows[2]
    assert sum(b.num_rows for b in run.tokens(steps=np.array([2, 1]))) == rows[1] + rows[2]
    assert list(run.tokens(steps=[])) == []
    with pytest.raises(el.EntropylabError, match="steps must be a whole number"):
        run.tokens(steps=[0.5])
