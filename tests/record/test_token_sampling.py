"""Token sampling: whole responses by hash, weights that make sums unbiased, the same on every rank."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.errors import InvalidInputError


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.9])
def test_the_fraction_is_kept(fraction):
    kept = el.TokenSampling(response_fraction=fraction, seed=3).keep(7, np.arange(200_000))
    assert kept.mean() == pytest.approx(fraction, abs=5 * np.sqrt(fraction * (1 - fraction) / 200_000))


def test_draws_of_steps_seeds_and_neighbouring_ids_are_unrelated():
    ids = np.arange(100_000)
    draws = [el.TokenSampling(response_fraction=0.5, seed=s).keep(t, ids) for s in (0, 1) for t in (0, 1, 2)]
    draws.append(np.roll(draws[0], 1))
    correlation = np.corrcoef(np.array(draws, dtype=float))
    assert np.abs(correlation - np.eye(len(draws))).max() < 5 / np.sqrt(len(ids))


def test_the_choice_depends_on_the_id_alone():
    sampling = el.TokenSampling(response_fraction=0.4, seed=5)
    ids = np.random.default_rng(0).integers(-(2**62), 2**62, 1000)
    whole = sampling.keep(3, ids)
    np.testing.assert_array_equal(whole[::-1], sampling.keep(3, ids[::-1]))
    np.testing.assert_array_equal(whole[:10], sampling.keep(3, ids[:10]))


def test_golden_choice():
    """Pinned: a file written today and one of a later version must agree on who is kept."""
    kept = el.TokenSampling(response_fraction=0.3, seed=42).keep(10, np.arange(40))
    assert np.flatnonzero(kept).tolist() == [0, 1, 5, 13, 14, 15, 16, 20, 25, 26, 27, 33, 34]


def test_rows_are_whole_responses_with_their_weight(tmp_path, batch):
    sampling = el.TokenSampling(every_steps=2, response_fraction=0.25, seed=1)
    with el.Recorder(tmp_path / "r", token_sampling=sampling) as recorder:
        for step in range(5):
            recorder.record(step, **batch(step, rows=60))
    run = el.open_run(tmp_path / "r")
    assert run.token_steps() == [0, 2, 4]
    for step in (0, 2, 4):
        b = batch(step, rows=60)
        kept = b["sample_ids"][sampling.keep(step, b["sample_ids"])]
        found = pa.Table.from_batches(list(run.tokens(steps=step))).to_pandas()
        assert set(found["sample_id"]) == set(kept)
        assert set(found["sampling_weight"]) == {4.0}
        lengths = dict(zip(b["sample_ids"], b["mask"].sum(1), strict=True))
        assert found.groupby("sample_id").size().to_dict() == {i: lengths[i] for i in kept}
    responses = pa.Table.from_batches(list(run.responses()))
    assert responses.num_rows == 5 * 60  # response rows are all kept
    assert run.steps()["n_tokens"].tolist() == [batch(s, rows=60)["mask"].sum() for s in range(5)]
    assert run.problems() == []


@pytest.mark.parametrize("period", [0, 1.5, True, "2"])
def test_bad_periods(period):
    with pytest.raises(InvalidInputError, match="every_steps must be a whole number from 1"):
        el.TokenSampling(every_steps=period)


@pytest.mark.parametrize("fraction", [0.0, -0.1, 1.1, float("nan"), "half"])
def test_bad_fractions(fraction):
    with pytest.raises(InvalidInputError, match=r"response_fraction must be in \(0, 1\]"):
        el.TokenSampling(response_fraction=fraction)


@pytest.mark.parametrize("seed", [-(2**63) - 1, 2**63, 0.5])
def test_bad_seeds(seed):
    with pytest.raises(InvalidInputError, match="seed must be a whole number"):
        el.TokenSampling(seed=seed)
