"""A sample of the rows of many steps: bounded, the ends in full, weighted figures near those of all rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.analysis import thinned_rows
from entropylab.analysis.tail_data import run_tokens
from entropylab.analysis.thinned_rows import token_rows

COLUMNS = ["step", "update", "sample_id", "position", "covariance", "selected", "sampling_weight"]
MOST = 4000


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> el.Run:
    """Ten steps of two updates of 1,500 tokens, the log-probabilities without ties."""
    folder, rng = tmp_path_factory.mktemp("thin") / "r", np.random.default_rng(0)
    mask = np.ones((30, 50), bool)
    with el.Recorder(folder) as recorder:
        for step in range(10):
            for update in range(2):
                logprobs = -rng.exponential(0.5, mask.shape).astype(np.float32)
                advantages = rng.normal(size=30).astype(np.float32)
                covariance = (logprobs - logprobs.mean()) * (advantages - advantages.mean())[:, None]
                tokens = {"covariance": covariance, "selected": rng.random(mask.shape) < 0.01}
                given = {"advantages": advantages, "mask": mask, "prompt_ids": np.arange(30) // 3}
                out = SimpleNamespace(tokens=tokens)
                recorder.record(step, out, logprobs=logprobs, entropy=-logprobs, update=update, **given)
    return el.open_run(folder)


@pytest.fixture(scope="module")
def rows(run):
    return pa.Table.from_batches(list(run.tokens(columns=COLUMNS))).to_pandas()


def test_all_rows_where_they_fit(run, rows):
    table, thinned = token_rows(run, run.token_steps(), COLUMNS, len(rows))
    assert not thinned
    assert table.to_pandas().equals(rows)


def test_both_ends_and_the_selected_are_kept_and_the_rest_is_weighted(run, rows):
    table, thinned = token_rows(run, run.token_steps(), COLUMNS, MOST)
    found = table.to_pandas()
    assert thinned
    assert len(found) < 1.5 * MOST < len(rows)
    assert found["selected"].sum() == rows["selected"].sum()
    share = MOST / 8 / len(rows)
    for key, part in rows.groupby(["step", "update"]):
        own = found[(found["step"] == key[0]) & (found["update"] == key[1])]
        k = int(np.ceil(share * len(part)))
        ranked = np.sort(part["covariance"])
        kept = np.sort(own[own["sampling_weight"] == 1]["covariance"])
        assert (kept[-k:] == ranked[-k:]).all()
        assert (kept[:k] == ranked[:k]).all()
    total = found["sampling_weight"].sum()
    drawn = found[found["sampling_weight"] > 1]["sampling_weight"]
    assert total == pytest.approx(len(rows), abs=float(4 * np.sqrt((drawn * (drawn - 1)).sum())))


def test_the_same_rows_each_time(run):
    first, second = (token_rows(run, run.token_steps(), COLUMNS, MOST)[0] for _ in range(2))
    assert first.equals(second)


def test_one_value_for_all_does_not_keep_all(tmp_path):
    zeros = np.zeros((40, 50), np.float32)
    with el.Recorder(tmp_path / "r") as recorder:
        recorder.record(0, logprobs=zeros - 1, advantages=zeros[:, 0], mask=zeros == 0)
    table, _ = token_rows(el.open_run(tmp_path / "r"), [0], COLUMNS, 200)
    assert 0 < len(table) < 300


def test_weights_of_a_sampled_log_are_multiplied(make_run, tmp_path):
    sampling = el.TokenSampling(token_fraction=0.5)
    run = make_run(tmp_path / "r", steps=3, prompts=48, group=8, token_sampling=sampling)
    weights = token_rows(run, run.token_steps(), COLUMNS, 500)[0]["sampling_weight"].to_numpy()
    assert set(np.round(weights, 3)) >= {2.0}
    assert weights.max() > 4.0


def test_analyses_say_that_they_read_a_sample(run, rows, monkeypatch):
    whole = el.attribute(run, steps=run.token_steps())
    tops = {f: rows["covariance"].nlargest(int(np.ceil(f * len(rows)))).mean() for f in (0.002, 0.02)}
    monkeypatch.setattr(thinned_rows, "MAX_ROWS", MOST)
    tokens = run_tokens(run, run.token_steps())
    assert tokens.weights.sum() == pytest.approx(len(rows))
    assert "tokens are read" in tokens.warnings[0]
    sampled = el.attribute(run, steps=run.token_steps())
    assert sampled.estimated
    assert sampled.n == whole.n
    assert sampled.n_selected == whole.n_selected
    left, right = (a.quadrants.set_index(["set", "quadrant"])["share"] for a in (whole, sampled))
    np.testing.assert_allclose(left, right, atol=0.05)
    order = np.argsort(-tokens.frame["covariance"].to_numpy())
    for fraction, mean in tops.items():
        covariance, weight = tokens.frame["covariance"].to_numpy(float)[order], tokens.weights[order]
        inside = np.cumsum(weight) <= fraction * len(rows)
        assert np.average(covariance[inside], weights=weight[inside]) == pytest.approx(mean, rel=0.02)
