"""The scan of the attribution against `attribute`, the same over every engine; what is left out it names."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import entropylab as el
from entropylab.analysis.attribution import SELECTED, TAIL
from entropylab.engine.attribution_scan import AttributionScan, scan_attribution
from entropylab.engine.tasks import attempt
from entropylab.errors import FileChangedError, InsufficientDataError, RunNotFoundError

LOGS = Path(__file__).parents[2] / "sample_logs"
NEAR = 1e-12


def assert_same(found: AttributionScan, expected: el.Attribution) -> None:
    """Counts, names and orders are equal, masses, means and bounds up to rounding."""
    assert not expected.estimated
    for name in expected.__dataclass_fields__:
        one, two = getattr(found, name), getattr(expected, name)
        if isinstance(two, pd.DataFrame):
            pd.testing.assert_frame_equal(one, two, rtol=NEAR, atol=1e-300)
            for column in two.select_dtypes("integer"):
                assert one[column].tolist() == two[column].tolist()
        else:
            assert one == two, name


def backwards(function, tasks, tokens):
    """An engine that does the last task first."""
    return (attempt(function, i, tasks[i]) for i in reversed(range(len(tasks))))


def record(path: Path, steps: int = 3, ranks: int = 2, **more: object) -> el.Run:
    """Steps of the same few covariances, so that many tokens of each are equal to the threshold."""
    for rank in range(ranks):
        with el.Recorder(path, rank=rank, world_size=ranks) as recorder:
            for step in range(steps):
                rng = np.random.default_rng([step, rank])
                mask = np.ones((12, 10), bool)
                values = {
                    "logprobs": rng.permutation(np.tile(np.float32([-4, -2, -1]), 40)).reshape(mask.shape),
                    "advantages": np.repeat(np.float32([-1, 0, 1]), 4),
                    "prompt_ids": np.arange(12) // 4,
                }
                given = {name: value(step) if callable(value) else value for name, value in more.items()}
                recorder.record(step, **values | given, mask=mask)
    return el.open_run(path)


@pytest.mark.parametrize(
    "path",
    [
        "start-a/baseline-s0",
        "start-a/clip_cov-s1",
        "start-a/kl_cov-s2",
        "rare-x/clip_cov-s1",
        "rare-x/placebo-s1",
    ],
)
def test_equal_to_attribute_on_the_sample_logs(path):
    run = el.open_run(LOGS / path).frozen()
    steps = run.token_steps()[::13]
    assert_same(scan_attribution(run, steps=steps, workers=1), el.attribute(run, steps=steps))


def test_equal_to_attribute_over_ranks_and_updates(recorded):
    found = scan_attribution(recorded, workers=1)
    assert_same(found, el.attribute(recorded))
    assert found.n_selected > 0
    assert found.threshold == pytest.approx(
        np.sort(pd.concat([b.to_pandas() for b in recorded.tokens(columns=["covariance"])])["covariance"])[
            -found.n_tail
        ]
    )


def test_ties_are_cut_as_attribute_cuts_them(tmp_path):
    run = record(tmp_path / "r", entropy=np.float32(np.arange(120).reshape(12, 10) % 7))
    found = scan_attribution(run, workers=1)
    assert_same(found, el.attribute(run))
    tied = [b["covariance"].to_numpy() == np.float32(found.threshold) for b in run.tokens()]
    assert np.concatenate(tied).sum() > found.n_tail
    assert scan_attribution(run, engine=backwards).to_dict() == found.to_dict()
    assert_same(scan_attribution(run, steps=1, workers=1), el.attribute(run, steps=1))


@pytest.mark.long
def test_the_same_to_the_bit_over_every_engine_and_order(recorded, engines):
    alone = scan_attribution(recorded, workers=1).to_dict()
    assert json.loads(json.dumps(alone, allow_nan=False)) == alone
    for engine in (backwards, engines["two processes"], engines["ray"]):
        assert scan_attribution(recorded, engine=engine).to_dict() == alone


def test_the_share_of_the_top_prompts_and_the_tables_add_up(recorded):
    found = scan_attribution(recorded, workers=1)
    assert found.prompts["tokens"].sum() == found.n == found.positions["all"].sum()
    assert found.prompts[SELECTED].sum() == found.n_selected
    most = found.prompts[TAIL].to_numpy()[: round(len(found.prompts) / 10)]
    assert found.tenth_share == most.sum() / found.n_tail
    assert "A tenth of the prompts holds" in found.summary()


def test_no_token_ids_no_entropy_one_step_no_prompts(tmp_path):
    run = record(tmp_path / "r", steps=1, ranks=1, prompt_ids=None)
    found = scan_attribution(run, workers=1)
    assert_same(found, el.attribute(run))
    assert found.tokens.empty
    assert set(found.bins["quantity"]) == {"probability"}
    assert found.n_prompts == 12  # the responses
    assert "responses stand in for them" in found.summary()
    assert "token ids were not recorded" in found.summary()


def test_an_update_without_tokens_is_no_damage(tmp_path):
    with el.Recorder(tmp_path / "r") as recorder:
        for update, held in enumerate([True, False]):
            mask = np.full((4, 5), held)
            logprobs = -np.arange(20, dtype=np.float32).reshape(4, 5)
            advantages = np.float32([1, -1, 0, 2])
            recorder.record(0, logprobs=logprobs, advantages=advantages, mask=mask, update=update)
    run = el.open_run(tmp_path / "r")
    assert_same(scan_attribution(run, workers=1), el.attribute(run))


def test_a_covariance_that_does_not_vary_is_said(tmp_path):
    run = record(tmp_path / "r", advantages=np.zeros(12, np.float32))
    found = scan_attribution(run, workers=1)
    assert_same(found, el.attribute(run))
    assert "the same for every token" in found.summary()


def test_sampled_steps_are_named_and_none_is_an_error(make_run, tmp_path):
    whole = {"steps": 4, "prompts": 6, "group": 4}
    run = make_run(tmp_path / "r", **whole, token_sampling=el.TokenSampling(every_steps=2))
    found = scan_attribution(run, workers=1)
    assert (found.steps, found.left_out) == ((0, 2), (1, 3))
    assert "2 steps are left out" in found.summary()
    with pytest.raises(RunNotFoundError, match=r"no token rows of the steps \[1\]"):
        scan_attribution(run, steps=[1], workers=1)
    share = make_run(tmp_path / "s", **whole, token_sampling=el.TokenSampling.uniform(0.5))
    with pytest.raises(InsufficientDataError, match="record without token_sampling"):
        scan_attribution(share, workers=1)


def test_values_that_are_not_finite_leave_their_step_out(tmp_path):
    def advantages(step: int) -> np.ndarray:
        return np.where(step == 1, np.nan, np.repeat(np.float32([-1, 0, 1]), 4))

    run = record(tmp_path / "r", advantages=advantages)
    found = scan_attribution(run, workers=1)
    assert found.steps == (0, 2)
    assert "not finite" in found.errors[1]
    assert_same(found, el.attribute(run, steps=[0, 2]))


def test_a_truncated_file_is_named_and_left_out(run):
    path = run.path / "tokens/step-000003/rank-0001-a1.parquet"
    os.truncate(path, path.stat().st_size // 2)
    found = scan_attribution(run, workers=1)
    assert list(found.errors) == [3]
    assert "rank-0001-a1.parquet" in found.summary()
    assert_same(found, el.attribute(run, steps=[0, 1, 2, 4, 5]))


@pytest.mark.parametrize("column", ["token_id", "position", "entropy"])
def test_a_flipped_bit_of_any_column_is_found_by_the_first_pass(run, column):
    path = run.path / "tokens/step-000003/rank-0001-a1.parquet"
    group = pq.ParquetFile(path).metadata.row_group(0)
    place = next(c for i in range(group.num_columns) if (c := group.column(i)).path_in_schema == column)
    data = bytearray(path.read_bytes())
    data[place.data_page_offset + place.total_compressed_size // 2] ^= 4
    path.write_bytes(data)
    found = scan_attribution(run, workers=1)
    assert list(found.errors) == [3]
    rest = scan_attribution(run, steps=[0, 1, 2, 4, 5], workers=1)
    assert found.to_dict() | {"errors": {}} == rest.to_dict()


def test_a_step_that_breaks_between_the_passes_is_an_error(run):
    path = run.path / "tokens/step-000003/rank-0001-a1.parquet"

    def break_after_the_first(done: float) -> None:
        if done >= 1 / 5:
            path.unlink(missing_ok=True)

    with pytest.raises(FileChangedError, match="scan again"):
        scan_attribution(run, workers=1, progress=break_after_the_first)


def test_progress_ends_at_one(recorded):
    told: list[float] = []
    scan_attribution(recorded, workers=1, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1)
