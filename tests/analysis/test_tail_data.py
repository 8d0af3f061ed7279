from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.analysis.tail_data import analyze_run, run_tokens, tail_inputs
from entropylab.errors import RunNotFoundError


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("tails") / "run", steps=22, updates=2)


def test_the_first_twenty_steps_by_default(run):
    tokens = run_tokens(run)
    assert tokens.steps == tuple(range(20))
    assert tokens.warnings == ()
    assert len(tokens.frame) == run.steps().query("step < 20")["n_tokens"].sum()


def test_margins_are_those_of_the_covariance_the_loss_used(run):
    x = tail_inputs(run)
    np.testing.assert_allclose(x["logprobs"] * x["advantages"], x["covariance"], atol=1e-5)
    assert abs(x["logprobs"].mean()) < 1e-6


def test_prompts_differ_from_step_to_step(run):
    one, two = tail_inputs(run, steps=0), tail_inputs(run, steps=[0, 1])
    assert len(np.unique(one["prompt_ids"])) == 32
    assert len(np.unique(two["prompt_ids"])) == 64
    assert len(np.unique(two["sample_ids"])) == 2 * 256


def test_the_report_of_a_run_agrees_with_its_summaries(run):
    report = analyze_run(run, steps=[3], n_bootstrap=60)
    row = run.steps().set_index("step").loc[3]
    quadrants = report.quadrants.set_index(["set", "quadrant"]).loc["all"]
    assert report.n == row["n_tokens"]
    assert report.mean == pytest.approx(row["covariance_mean"], rel=1e-5)
    assert report.kurtosis == pytest.approx(row["covariance_kurtosis"], rel=1e-4)
    assert report.top_means[0.02] == pytest.approx(row["top_mean_0.02"], rel=1e-5)
    for name in quadrants.index:
        assert quadrants.loc[name, "count"] == row[f"count_{name}"]
        assert quadrants.loc[name, "mass"] == pytest.approx(row[f"mass_{name}"], rel=1e-4)


def test_stored_samples_are_centred_by_all_tokens_and_said_to_be_estimates(make_run, tmp_path):
    sampling = el.TokenSampling(response_fraction=0.5)
    run = make_run(tmp_path / "sampled", steps=4, updates=2, token_sampling=sampling)
    tokens = run_tokens(run)
    assert len(tokens.frame) < 0.7 * run.steps()["n_tokens"].sum()
    assert "estimated from a sample" in tokens.warnings[0]
    np.testing.assert_allclose(tokens.frame["l"] * tokens.frame["a"], tokens.frame["covariance"], atol=1e-5)
    assert "estimated from a sample" in analyze_run(run, n_bootstrap=60).warnings[-1]


def test_steps_without_tokens_are_named(run, make_run, tmp_path):
    with pytest.raises(RunNotFoundError, match="99"):
        tail_inputs(run, steps=[99])
    bare = make_run(tmp_path / "bare", steps=2, token_sampling=el.TokenSampling(every_steps=50))
    assert run_tokens(bare).steps == (0,)
    with pytest.raises(RunNotFoundError, match="no token rows"):
        tail_inputs(run, steps=[])


def test_rows_that_are_not_finite_are_left_out_with_a_warning(run, monkeypatch):
    real = run.tokens

    def with_nan(steps, columns):
        table = pa.Table.from_batches(list(real(steps, columns))).to_pandas()
        table.loc[5, "logprob"] = np.nan
        return pa.Table.from_pandas(table, preserve_index=False).to_batches()

    monkeypatch.setattr(run, "tokens", with_nan)
    tokens = run_tokens(run, [0])
    assert "1 of " in tokens.warnings[0]
    assert np.isfinite(tokens.frame[["l", "a"]].to_numpy()).all()


def test_responses_stand_in_for_prompts_that_were_not_recorded(tmp_path):
    rng = np.random.default_rng(0)
    with el.Recorder(tmp_path / "run") as recorder:
        for step in range(2):
            recorder.record(
                step,
                None,
                logprobs=-rng.exponential(size=(8, 5)),
                advantages=rng.normal(size=8),
                mask=np.ones((8, 5)),
            )
    tokens = run_tokens(el.open_run(tmp_path / "run"))
    assert tokens.frame["prompt"].nunique() == 16
    assert (tokens.frame["prompt"] == tokens.frame["sample"]).all()
    assert any("responses stand in" in warning for warning in tokens.warnings)
