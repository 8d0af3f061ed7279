"""Token sampling: whole responses by hash, weights that make sums unbiased, the same on every rank."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.errors import InvalidInputError
from entropylab.record.inputs import MicroStep, fields_of
from entropylab.record.pieces import make_piece
from entropylab.record.staging import Staging
from entropylab.record.step_files import token_table

KEY = ["update", "sample_id", "position"]


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


SCHEMES = {
    "all": el.TokenSampling(),
    "every other step": el.TokenSampling(every_steps=2),
    "responses": el.TokenSampling(response_fraction=0.3),
    "tokens": el.TokenSampling.uniform(0.2),
    "both": el.TokenSampling(response_fraction=0.5, token_fraction=0.5),
    "tail": el.TokenSampling.tail_and_share(0.1, tail_fraction=0.05),
}


def rows_of(path, sampling, batches) -> pa.Table:
    with el.Recorder(path, token_sampling=sampling) as recorder:
        for i, b in enumerate(batches):
            recorder.record(0, micro_step=i % 2, update=i // 2, **b)
    return pa.Table.from_batches(list(el.open_run(path).tokens()))


@pytest.mark.parametrize("name", SCHEMES)
def test_the_summary_is_exact_whatever_is_stored(tmp_path, batch, name):
    batches = [batch(i, rows=40) for i in range(4)]
    stored = rows_of(tmp_path / "s", SCHEMES[name], batches)
    full = rows_of(tmp_path / "f", el.TokenSampling(), batches)
    assert 0 < stored.num_rows <= full.num_rows
    for by in ("step", "update"):
        frames = [el.open_run(tmp_path / f).steps(by=by).drop(columns="recorded_at") for f in "sf"]
        assert frames[0].equals(frames[1])
    assert el.open_run(tmp_path / "s").problems() == []


def test_tails_and_selected_tokens_are_kept_in_full_with_weight_one(tmp_path, batch):
    sampling = el.TokenSampling.tail_and_share(0.1, tail_fraction=0.05, seed=3)
    batches = [batch(i, rows=60) for i in range(2)]  # two micro-steps of one update
    full = rows_of(tmp_path / "f", el.TokenSampling(), batches).to_pandas()
    rows = rows_of(tmp_path / "s", sampling, batches).to_pandas()
    k = int(np.ceil(0.05 * len(full)))
    ranked = full.sort_values("covariance", kind="stable")
    certain = pd.concat([ranked.head(k), ranked.tail(k), full[full["selected"]]]).drop_duplicates(KEY)
    merged = certain[KEY].merge(rows, on=KEY)
    assert len(merged) == len(certain)
    assert set(merged["sampling_weight"]) == {1.0}
    drawn = rows[rows["sampling_weight"] != 1]
    assert set(drawn["sampling_weight"]) == {10.0}
    assert len(rows) == len(certain) + len(drawn)
    columns = [c for c in full.columns if c not in ("sampling_weight",)]
    pd.testing.assert_frame_equal(full.merge(rows[KEY], on=KEY)[columns], rows[columns])
    rest = len(full) - len(certain)
    assert len(drawn) == pytest.approx(0.1 * rest, abs=5 * np.sqrt(0.09 * rest))


def test_certain_tokens_do_not_depend_on_the_micro_steps(tmp_path, batch):
    sampling = el.TokenSampling.tail_and_share(0.2, tail_fraction=0.03)
    whole = batch(5, rows=40)
    halves = [half(whole, slice(0, 20)), half(whole, slice(20, 40))]
    one, two = (
        rows_of(tmp_path / str(len(b)), sampling, b).drop_columns(["micro_step"]) for b in ([whole], halves)
    )
    assert one.equals(two)


def half(b, rows):
    from types import SimpleNamespace

    tokens = SimpleNamespace(tokens={k: v[rows] for k, v in b["out"].tokens.items()})
    return {k: tokens if k == "out" else v[rows] for k, v in b.items()}


@pytest.mark.quick("both", "tail")
@pytest.mark.parametrize("name", ["responses", "tokens", "both", "tail"])
def test_weighted_sums_are_unbiased(tmp_path, batch, name):
    """Over many seeds the mean of weighted counts and masses is that of the full log, within 4 errors."""
    pieces = make_pieces(batch(7, rows=150))
    exact = figures(token_table(0, 0, pieces, el.TokenSampling()))
    scheme = {**SCHEMES[name].to_dict(), "every_steps": 1}
    draws = np.array(
        [figures(token_table(0, 0, pieces, el.TokenSampling(**{**scheme, "seed": s}))) for s in range(400)]
    )
    error = draws.std(axis=0, ddof=1) / np.sqrt(len(draws))
    assert (np.abs(draws.mean(axis=0) - exact) <= 4 * error + 1e-9 * np.abs(exact)).all()
    if name == "tail":  # what lies in the tails has no error at all
        assert draws.std(axis=0)[-1] == 0


def make_pieces(b):
    names = (
        "logprobs",
        "old_logprobs",
        "ref_logprobs",
        "entropy",
        "entropy_after",
        "influence",
        "advantages",
    )
    given = {n: b[n] for n in (*names, "mask", "rewards", "token_ids", "sample_ids", "prompt_ids")}
    fields = fields_of(given, b["out"].tokens)
    call = MicroStep(0, 0, None, np.arange(len(b["mask"])), None, False, {})
    return [make_piece(call, Staging().copy(call, fields).arrays())]


def figures(table: pa.Table) -> np.ndarray:
    """Weighted: tokens, selected, mass, positive mass, squares, tokens of an id, mass of the top 2 %."""
    frame = table.to_pandas()
    w = frame["sampling_weight"].fillna(1.0).to_numpy(np.float64)
    c = frame["covariance"].to_numpy(np.float64)
    top = c >= TOP
    values = [np.ones(len(c)), frame["selected"], c, np.maximum(c, 0), c**2, frame["token_id"] == 3, c * top]
    return np.array([float((w * np.asarray(v, dtype=np.float64)).sum()) for v in values])


TOP = 5.0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"token_fraction": 0.0}, r"token_fraction must be in \(0, 1\]"),
        ({"tail_fraction": 0.6}, r"tail_fraction must be in \[0, 0.5\]"),
        ({"tail_fraction": float("nan")}, "tail_fraction"),
        ({"keep_selected": 1}, "keep_selected must be True or False"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(InvalidInputError, match=message):
        el.TokenSampling(**settings)
