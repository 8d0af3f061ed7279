from __future__ import annotations

import numpy as np
import pytest

import entropylab as el
from entropylab.analysis.responses import step_tokens
from entropylab.errors import InvalidInputError, RunFormatError
from entropylab.record.compaction import compact_run

TEXTS = ["a", " the", "\n", "🙂", "a"]


def recorded(path, vocabulary=TEXTS, **settings):
    with el.Recorder(path, vocabulary=vocabulary, **settings) as recorder:
        recorder.record(
            0,
            None,
            logprobs=np.full((2, 3), -0.5),
            advantages=np.array([1.0, -1.0]),
            mask=np.ones((2, 3)),
            token_ids=np.array([[0, 1, 2], [3, 4, 9]]),
        )
        recorder.end_step(0)
    return el.open_run(path)


def test_tokens_show_the_text_that_was_recorded(tmp_path):
    run = recorded(tmp_path / "run")
    assert run.vocabulary == tuple(TEXTS)
    assert run.problems() == []
    shown = step_tokens(run, 0)["token"]
    assert shown.tolist()[:5] == TEXTS
    assert shown.isna().tolist() == [False] * 5 + [True]
    compact_run(tmp_path / "run")
    assert el.open_run(tmp_path / "run").vocabulary == tuple(TEXTS)


def test_the_config_is_asked_first_and_none_is_empty(tmp_path):
    assert recorded(tmp_path / "both", config={"vocabulary": ["x", "y"]}).vocabulary == ("x", "y")
    bare = recorded(tmp_path / "bare", None)
    assert bare.vocabulary == ()
    assert step_tokens(bare, 0)["token"].isna().all()


def test_a_later_attempt_may_bring_another(tmp_path):
    recorded(tmp_path / "run")
    assert recorded(tmp_path / "run", ["b"] * 5).vocabulary == ("b",) * 5


def test_only_rank_0_writes_it(tmp_path):
    el.Recorder(tmp_path / "run", rank=1, world_size=2, vocabulary=TEXTS).close()
    assert not (tmp_path / "run" / "vocabulary.parquet").exists()


def test_text_that_is_no_unicode_is_written(tmp_path):
    assert recorded(tmp_path / "run", ["\ud800", "b"]).vocabulary == ("?", "b")


@pytest.mark.parametrize(("given", "told"), [("abc", "one string"), (["a", 3], r"vocabulary\[1\] is a int")])
def test_what_is_no_list_of_texts_is_refused(tmp_path, given, told):
    with pytest.raises(InvalidInputError, match=told):
        el.Recorder(tmp_path / "run", vocabulary=given)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("damage", [lambda data: data[:-20], lambda data: b"nothing of ours"])
def test_a_broken_file_is_named(tmp_path, damage):
    run = recorded(tmp_path / "run")
    path = tmp_path / "run" / "vocabulary.parquet"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RunFormatError, match=r"vocabulary\.parquet"):
        _ = run.vocabulary
