"""N2: the statistics by hand, a level that holds, power on a coupled batch; and the bound on surprisal."""

from __future__ import annotations

import numpy as np
import pytest

import entropylab as el
from entropylab.analysis.permutation_null import permutation_frame, responses_of, tail_statistics
from entropylab.analysis.surprisal import check_surprisal, vocabulary_size_of
from entropylab.analysis.tail_data import analyze_run
from entropylab.analysis.tail_estimators import moment


def _batch(seed, coupling=0.0, prompts=40, group=6, length=30):
    rng = np.random.default_rng(seed)
    n_responses = prompts * group
    quality = rng.normal(size=n_responses)
    lengths = rng.integers(length // 2, length + 1, n_responses)
    response = np.repeat(np.arange(n_responses), lengths)
    advantage = np.where(rng.random(n_responses) < 0.3, 1.0, -0.4) + coupling * quality
    surprisal = rng.exponential(size=len(response)) * np.exp(0.3 * quality[response])
    l, a = -surprisal, advantage[response]
    return l - l.mean(), a - a.mean(), response // group, response


def test_statistics_by_hand():
    rng = np.random.default_rng(0)
    c = rng.standard_t(3, size=60_000)
    found, d = tail_statistics(c), np.sort(c)[::-1]
    assert found[0] == pytest.approx(c.mean())
    assert found[1] == pytest.approx(d[:120].mean())
    assert found[2] == pytest.approx(d[:1200].mean())
    assert found[3] == pytest.approx(d[:1200].sum() / d[d > 0].sum())
    assert found[4] == pytest.approx(moment(np.log(d[:600] / d[600])))
    assert np.isnan(found[5]), "fewer than 200 tokens above the threshold"


def test_a_permutation_keeps_both_margins_and_the_prompts():
    l, a, prompts, samples = _batch(1)
    batch = responses_of(l, a, prompts, samples)
    rng = np.random.default_rng(2)
    c = batch.permuted(rng)
    drawn = np.full(len(batch.advantage), np.nan)
    with np.errstate(invalid="ignore"):
        shift = c / l
    drawn[samples] = shift
    for prompt in range(40):
        mine, own = drawn[batch.prompt == prompt], batch.advantage[batch.prompt == prompt]
        np.testing.assert_allclose(np.sort(mine - mine.mean()), np.sort(own - own.mean()), atol=1e-9)


def test_the_level_holds_when_rewards_are_chance():
    rejected = 0
    for seed in range(60):
        l, a, prompts, samples = _batch(seed, prompts=15)
        frame = permutation_frame(responses_of(l, a, prompts, samples), l * a, seed, 0.95)
        rejected += frame["p"].iloc[0] <= 0.05
    assert rejected <= 8  # 60 draws at 5 %: 9 or more have a probability of 0.3 %


def test_a_coupled_batch_is_found():
    l, a, prompts, samples = _batch(3, coupling=-0.6)
    frame = permutation_frame(responses_of(l, a, prompts, samples), l * a, 0, 0.95).set_index("statistic")
    assert frame.loc["mean", "p"] == pytest.approx(1 / 200)
    assert frame.loc["mean", "observed"] > frame.loc["mean", "permuted_high"]


def test_reasons_are_told():
    l, a, prompts, samples = _batch(4, prompts=10)
    report = el.analyze_tails(
        l * a, logprobs=l, advantages=a, prompt_ids=prompts, sample_ids=samples, n_bootstrap=50
    )
    assert report.permutation_note is None
    assert "permuted over the responses" in report.summary()
    noisy = a + np.random.default_rng(0).normal(size=len(a))
    shared = {"prompt_ids": prompts, "n_bootstrap": 50}
    told = el.analyze_tails(l * noisy, logprobs=l, advantages=noisy, sample_ids=samples, **shared)
    assert "differ within a response" in told.permutation_note
    assert "not known" in el.analyze_tails(l * a, **shared).permutation_note
    alone = el.analyze_tails(
        l * a, logprobs=l, advantages=a, prompt_ids=samples, sample_ids=samples, n_bootstrap=50
    )
    assert "nothing to permute" in alone.permutation_note
    assert alone.permutation.empty


def test_surprisal_against_its_bound():
    rng = np.random.default_rng(0)
    logits = rng.normal(scale=3, size=(4000, 50))
    logp = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    drawn = (logp + rng.gumbel(size=logp.shape)).argmax(1)
    fine = check_surprisal(logp[np.arange(4000), drawn], 50)
    assert not fine.mismatch
    assert fine.limit == pytest.approx(np.log(50 * 4000))
    stale = check_surprisal(np.append(logp[np.arange(4000), drawn], -25.0), 50)
    assert (stale.mismatch, stale.above) == (True, 1)
    assert "1 of 4,001 tokens" in stale.sentence()


def test_the_size_of_the_vocabulary_comes_from_the_config():
    assert vocabulary_size_of({"vocabulary": ["a", "b"]}) == 2
    assert vocabulary_size_of({"model": {"vocab_size": 151_936}}) == 151_936
    assert vocabulary_size_of({"model": "Qwen"}) is None


def test_a_run_is_checked(make_run, tmp_path):
    run = make_run(tmp_path / "r", steps=4, prompts=12)
    report = analyze_run(run, n_bootstrap=50)
    assert report.surprisal.vocabulary_size == len(run.config["vocabulary"])
    assert not report.surprisal.mismatch
    assert set(report.permutation["statistic"]) >= {"mean", "top_mean_0.02"}
    assert report.to_dict()["permutation"][0]["statistic"] == "mean"
