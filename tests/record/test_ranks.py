"""Several ranks: merged exactly what one rank on the union records."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.schema import QUADRANTS

EXACT = [f"top_mean_{f:g}" for f in (2e-4, 2e-3, 2e-2, 2e-1, 5e-1)]
EXACT += [f"{kind}_{q}" for q in QUADRANTS for kind in ("count", "mass", "selected_count", "selected_mass")]


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    sizes = {"steps": 4, "prompts": 12, "group": 4}
    return make_run(folder / "one", **sizes), make_run(folder / "three", world_size=3, **sizes)


@pytest.mark.parametrize("by", ["step", "update"])
def test_merged_ranks_equal_one_rank_on_the_union(runs, by):
    one, three = (run.steps(by=by).drop(columns=["recorded_at", "n_ranks"]) for run in runs)
    pd.testing.assert_frame_equal(one, three, rtol=1e-9, atol=1e-12)
    assert set(EXACT) < set(one.columns)
    assert one[EXACT].notna().all().all()
    assert runs[1].steps()["n_ranks"].tolist() == [3] * 4
    assert runs[1].problems() == []


def test_token_rows_are_the_union(runs):
    keys = ["step", "update", "sample_id", "position"]
    frames = [
        pa.Table.from_batches(list(r.tokens())).to_pandas().sort_values(keys, ignore_index=True) for r in runs
    ]
    pd.testing.assert_frame_equal(*(f.drop(columns="rank") for f in frames))
    assert sorted(frames[1]["rank"].unique()) == [0, 1, 2]


def test_the_set_of_the_covariance_is_found(runs):
    assert [run.info["covariance_set"] for run in runs] == ["update", "update"]


def test_what_token_rows_gave_is_cached_and_the_cache_can_be_deleted(runs):
    folder = runs[1].path / "cache"
    before = el.open_run(runs[1].path).steps()
    assert len(list(folder.glob("exact-*.json"))) == 4
    cached = el.open_run(runs[1].path).steps()
    shutil.rmtree(folder)
    pd.testing.assert_frame_equal(before, cached)
    pd.testing.assert_frame_equal(before, el.open_run(runs[1].path).steps())


@pytest.mark.parametrize("content", ["", "{", '{"stamp": [], "rows": {}}', '{"rows": 3}', "[]"])
def test_a_broken_cache_is_computed_again(runs, tmp_path, content):
    shutil.copytree(runs[1].path, tmp_path / "r")
    before = runs[1].steps()
    (tmp_path / "r/cache").mkdir(exist_ok=True)
    for step in range(4):
        (tmp_path / f"r/cache/exact-{step:06d}.json").write_text(content)
    pd.testing.assert_frame_equal(before, el.open_run(tmp_path / "r").steps())


def test_with_sampled_tokens_only_what_merges_is_given(runs, make_run, tmp_path):
    sampling = el.TokenSampling(response_fraction=0.5)
    sampled = make_run(
        tmp_path / "r", world_size=2, steps=4, prompts=12, group=4, token_sampling=sampling
    ).steps()
    whole = runs[0].steps()
    assert sampled[EXACT].isna().all().all()
    same = [c for c in whole.columns if c not in (*EXACT, "recorded_at", "n_ranks")]
    pd.testing.assert_frame_equal(whole[same], sampled[same], rtol=1e-9, atol=1e-12)


def test_one_sampled_rank_keeps_every_column_exact(runs, make_run, tmp_path):
    sampling = el.TokenSampling(every_steps=2, response_fraction=0.25)
    run = make_run(tmp_path / "r", steps=4, prompts=12, group=4, token_sampling=sampling)
    pd.testing.assert_frame_equal(
        runs[0].steps().drop(columns="recorded_at"), run.steps().drop(columns="recorded_at")
    )
    assert run.token_steps() == [0, 2]
    assert run.problems() == []


def test_missing_ranks_leave_the_step_out_and_are_named(make_run, tmp_path):
    run = make_run(tmp_path / "r", world_size=3, steps=3, prompts=6, group=2)
    (run.path / "markers/step-000001/rank-0002-a1.json").unlink()
    shutil.rmtree(run.path / "tokens/step-000001")
    shutil.rmtree(run.path / "responses/step-000001")
    assert run.steps()["step"].tolist() == [0, 2]
    assert [(p.kind, p.path) for p in run.problems()] == [("missing_ranks", "markers/step-000001")] + [
        ("unreadable_file", f"{kind}/step-000001/rank-000{r}-a1.parquet")
        for kind in ("responses", "tokens")
        for r in range(2)
    ]
    assert "ranks [2] of 3" in run.problems()[0].message
    assert {b["step"][0].as_py() for b in run.tokens(columns=["step"])} == {0, 2}


def test_ranks_that_only_observe_use_their_own_tokens_and_say_so(batch, tmp_path):
    for rank in range(2):
        with el.Recorder(tmp_path / "r", rank=rank, world_size=2) as recorder:
            recorder.record(0, **batch(rank, out=None))
    run = el.open_run(tmp_path / "r")
    assert run.info["covariance_set"] == "rank_update"
    pieces = [batch(r) for r in range(2)]
    l = [b["logprobs"][b["mask"]].astype(np.float64) for b in pieces]
    a = [np.repeat(b["advantages"].astype(np.float64), b["mask"].sum(1)) for b in pieces]
    total = sum(np.cov(x, y, bias=True)[0, 1] * len(x) for x, y in zip(l, a, strict=True))
    assert run.steps()["covariance_mean"][0] == pytest.approx(total / sum(map(len, l)), rel=1e-5)


def test_the_marker_is_strict_json_and_names_its_files(runs):
    path = runs[1].path / "markers/step-000002/rank-0001-a1.json"
    marker = json.loads(path.read_text(), parse_constant=lambda x: pytest.fail(x))
    assert (marker["step"], marker["rank"], marker["attempt"], marker["world_size"]) == (2, 1, 1, 3)
    assert marker["tokens"]["path"] == "tokens/step-000002/rank-0001-a1.parquet"
    assert marker["tokens"]["rows"] == marker["n_tokens"]
    assert (runs[1].path / marker["responses"]["path"]).exists()
