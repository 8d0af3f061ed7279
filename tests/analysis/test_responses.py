"""Responses and tokens of a step against numbers by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import entropylab as el
from entropylab.analysis.folder_facts import folder_facts
from entropylab.analysis.responses import (
    positive_share,
    quantity_scale,
    response_table,
    step_tokens,
    token_aggregates,
)
from entropylab.errors import InsufficientDataError, RunNotFoundError, UnknownNameError

LOGPROBS = np.array([[-0.1, -2.0, -0.3], [-1.5, -0.2, -0.9]])
MASK = np.array([[1, 1, 1], [1, 1, 0]], dtype=bool)
IDS = np.array([[0, 1, 0], [2, 0, 0]])


@pytest.fixture
def run(tmp_path):
    config = {"vocabulary": ["a", "b", "<script>"]}
    with el.Recorder(tmp_path / "run", config=config) as recorder:
        for step in (0, 1):
            recorder.record(
                step,
                logprobs=LOGPROBS * (1 + step),
                advantages=np.array([1.0, -1.0]),
                mask=MASK,
                token_ids=IDS,
                rewards=np.array([1.0, 0.0]),
                prompt_ids=np.array([7, 7]),
                sample_ids=np.array([10, 11]),
                texts=["aba", "<script>a"],
            )
    return el.open_run(tmp_path / "run")


def test_tokens_have_their_text_and_quadrant(run):
    tokens = step_tokens(run, 0)
    assert tokens["token"].tolist() == ["a", "b", "a", "<script>", "a"]
    assert tokens["position"].tolist() == [0, 1, 2, 0, 1]
    high, above = LOGPROBS[MASK] >= LOGPROBS[MASK].mean(), np.array([1, 1, 1, 0, 0], bool)
    named = [
        f"{'high' if h else 'low'}_{'above' if a else 'below'}" for h, a in zip(high, above, strict=True)
    ]
    assert tokens["quadrant"].tolist() == named


def test_a_row_a_response(run):
    table = response_table(run, step_tokens(run, 0))
    assert table["text"].tolist() == ["aba", "<script>a"]
    assert table["length"].tolist() == [3, 2]
    assert table["reward"].tolist() == [1.0, 0.0]
    l, a = LOGPROBS[MASK], np.array([1.0, 1, 1, -1, -1])
    covariance = (l - l.mean()) * (a - a.mean())
    assert table["covariance"].tolist() == pytest.approx(
        [covariance[:3].mean(), covariance[3:].mean()], rel=1e-5
    )
    assert table["highest"].tolist() == pytest.approx([covariance[:3].max(), covariance[3:].max()], rel=1e-5)


def test_gathered(run):
    tokens = step_tokens(run, 0)
    by_token = token_aggregates(tokens, "token").set_index("token_id")
    assert by_token.loc[0, ["count", "responses"]].tolist() == [3, 2]
    assert by_token.loc[0, "token"] == "a"
    assert by_token["total"].sum() == pytest.approx(tokens["covariance"].sum())
    assert token_aggregates(tokens, "position").set_index("position").loc[0, "count"] == 2
    with pytest.raises(UnknownNameError, match="token, position or quadrant"):
        token_aggregates(tokens, "prompt")


def test_the_share_of_the_highest_by_hand_and_by_weights():
    tokens = pd.DataFrame({"covariance": [4.0, 1.0, -3.0, 3.0], "sampling_weight": [np.nan] * 4})
    assert positive_share(tokens, 0.25) == pytest.approx(4 / 8)
    assert positive_share(tokens, 0.26) == pytest.approx(7 / 8)
    repeated = tokens.loc[[0, 1, 1, 1, 2, 3]].reset_index(drop=True)
    weighted = tokens.assign(sampling_weight=[1.0, 3.0, 1.0, 1.0])
    for fraction in (1 / 6, 2 / 6, 1.0):
        assert positive_share(weighted, fraction) == pytest.approx(positive_share(repeated, fraction))
    assert np.isnan(positive_share(tokens.assign(covariance=-1.0)))


def test_one_scale_for_the_whole_run(run):
    low, high, steps = quantity_scale(run, "covariance")
    values = np.concatenate([step_tokens(run, step)["covariance"] for step in (0, 1)])
    assert steps == [0, 1]
    assert high == -low == pytest.approx(np.abs(np.quantile(values, [0.01, 0.99])).max())
    low, high, _ = quantity_scale(run, "logprob")
    values = np.concatenate([LOGPROBS[MASK], 2 * LOGPROBS[MASK]])
    assert (low, high) == pytest.approx(tuple(np.quantile(values.astype(np.float32), [0.01, 0.99])))


def test_what_is_not_there_is_an_error(run):
    with pytest.raises(InsufficientDataError, match="entropy is not recorded"):
        quantity_scale(run, "entropy")
    with pytest.raises(UnknownNameError, match="no quantity of a token"):
        quantity_scale(run, "colour")
    with pytest.raises(RunNotFoundError, match="no token rows"):
        step_tokens(run, 5)


@pytest.mark.parametrize(("vocabulary", "text"), [(["a", "b", "c"], "a b"), (["a", " b", "c"], "a b")])
def test_without_texts_a_response_reads_as_its_tokens(tmp_path, vocabulary, text):
    with el.Recorder(tmp_path / "run", vocabulary=vocabulary) as recorder:
        recorder.record(
            0,
            logprobs=-np.ones((2, 2)),
            advantages=np.array([1.0, -1.0]),
            mask=np.ones((2, 2), bool),
            token_ids=np.array([[0, 1], [2, 9]]),
        )
    made = el.open_run(tmp_path / "run")
    table = response_table(made, step_tokens(made, 0))
    assert table["text"].iloc[0] == text
    assert table["text"].isna().tolist() == [False, True], "a token that the vocabulary does not know"


def test_no_vocabulary_leaves_no_text(make_run, tmp_path):
    made = make_run(tmp_path / "r", steps=1)
    path = made.path / "_run.json"
    assert path.exists()
    tokens = step_tokens(made, 0)
    if "vocabulary" not in made.config:
        assert tokens["token"].isna().all()


def test_facts_of_a_folder(run):
    facts = folder_facts(run)
    assert (facts["steps"], facts["tokens"], facts["token rows"]) == (2, 10, 10)
    assert facts["bytes"] == sum(p.stat().st_size for p in run.path.rglob("*") if p.is_file())
    assert facts["sampling"] == "every token"
