"""Dumps of texts without tokens, written by the real trainers: texts and rewards, and errors for the rest."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.errors import EntropylabError, InsufficientDataError, MissingInputError, RunNotFoundError
from entropylab.importers.importing import import_run
from entropylab.importers.step_metrics import step_metrics


def responses(path):
    return pa.Table.from_batches(list(el.open_run(path).responses())).to_pandas()


def test_verl(fixtures, tmp_path):
    source = fixtures / "verl" / "rollout_data"
    report = import_run("verl", source, tmp_path / "run", strict=True)
    assert (report.steps, report.responses, report.tokens) == (3, 12, 0)
    wanted = pd.concat([pd.read_json(source / f"{s}.jsonl", lines=True) for s in (1, 2, 3)])
    rows = responses(tmp_path / "run")
    assert rows["text"].tolist() == wanted["output"].tolist()
    assert rows["reward"].tolist() == wanted["score"].tolist()
    assert rows["step"].tolist() == wanted["step"].tolist()
    assert rows["prompt_id"].nunique() == wanted["input"].nunique()
    steps = el.open_run(tmp_path / "run").steps()
    np.testing.assert_allclose(steps["reward_mean"], wanted.groupby("step")["score"].mean())
    assert steps["metrics/format"].tolist() == [0.25] * 3
    assert steps[["n_tokens", "n_responses"]].to_numpy().tolist() == [[0, 4]] * 3
    assert steps[["response_length_mean", "entropy_token_mean", "covariance_mean"]].isna().all(axis=None)


def test_trl(fixtures, tmp_path):
    """TRL wrote the evaluation's completions over those of the steps 2, 4 and 6."""
    report = import_run("trl", fixtures / "trl", tmp_path / "run", strict=True)
    paths = [fixtures / "trl" / "completions" / f"completions_0000{step}.parquet" for step in (1, 3, 5)]
    wanted = pd.concat(pd.read_parquet(path) for path in paths)
    assert (report.steps, report.responses) == (3, len(wanted))
    assert report.notes["evaluations_left_out_at_steps"] == [2, 4, 6]
    rows = responses(tmp_path / "run")
    assert rows["text"].tolist() == wanted["completion"].tolist()
    total = wanted["count_reward"] + wanted["length_reward"]
    np.testing.assert_allclose(rows["reward"], total, rtol=1e-6)
    steps = el.open_run(tmp_path / "run").steps()
    by_step = wanted.assign(total=total).groupby("step")
    np.testing.assert_allclose(steps["metrics/advantage_mean"], by_step["advantage"].mean(), atol=1e-12)
    history = json.loads((fixtures / "trl" / "trainer_state.json").read_text())["log_history"]
    logged = {row["step"]: row for row in history if "reward" in row}
    for name, column in (("reward", "reward_mean"), ("rewards/count_reward/mean", None)):
        found = steps[column or f"metrics/{name}"]
        np.testing.assert_allclose(found, [logged[s][name] for s in (1, 3, 5)], rtol=1e-6)


def test_trl_without_its_state_says_what_is_unknown(fixtures, tmp_path):
    shutil.copytree(fixtures / "trl" / "completions", tmp_path / "dump")
    report = import_run("trl", tmp_path / "dump", tmp_path / "run")
    assert report.steps == 6
    assert "no trainer_state.json" in report.notes["evaluations"]


@pytest.mark.parametrize("name", ["verl", "trl"])
def test_analyses_that_need_tokens_say_so(fixtures, tmp_path, name):
    source = {"verl": fixtures / "verl" / "rollout_data", "trl": fixtures / "trl"}[name]
    import_run(name, source, tmp_path / "run")
    run = el.open_run(tmp_path / "run")
    from entropylab.analysis.curve_data import fit_run
    from entropylab.analysis.tail_data import analyze_run

    with pytest.raises(InsufficientDataError, match="no evaluations"):
        fit_run(run)
    with pytest.raises(RunNotFoundError, match="no token rows"):
        analyze_run(run)
    with pytest.raises(RunNotFoundError, match="no token rows"):
        el.attribute(run)
    assert {p.kind for p in run.problems()} == {"empty_update"}


def test_a_log_beside_the_dump_gives_metrics_and_evaluations(fixtures, tmp_path):
    beside = step_metrics(fixtures / "verl" / "file_logger.jsonl", n_problems=1319)
    report = import_run("verl", fixtures / "verl" / "rollout_data", tmp_path / "run", metrics=beside)
    run = el.open_run(tmp_path / "run")
    assert (report.evaluations, report.n_faults) == (7, 1)
    assert "1 values are NaN or infinite" in report.faults[0]
    scores = run.evaluations()
    assert scores["metric"].unique().tolist() == ["val-core/openai/gsm8k/acc/mean@8"]
    assert scores["step"].tolist() == list(range(0, 25, 4))
    assert set(scores["n"]) == {1319}
    assert run.steps()["metrics/actor/entropy"].notna().all()
    from entropylab.analysis.curve_data import fit_run

    with pytest.raises(MissingInputError, match="holds no entropies"):
        fit_run(run, metric="val-core/openai/gsm8k/acc/mean@8")


def test_evaluations_need_their_number_of_problems(fixtures):
    with pytest.raises(MissingInputError, match="--n-problems"):
        step_metrics(fixtures / "verl" / "file_logger.jsonl")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"input": "q", "output": "a", "step": 2}, "'score' is missing"),
        ({"input": "q", "output": "a", "step": 2, "score": float("nan")}, "score must be a finite number"),
        ({"input": "q", "output": 3, "step": 2, "score": 1.0}, "output must be a string"),
        ({"input": "q", "output": "a", "step": 3, "score": 1.0}, "step 3 in the file of step 2"),
        ([1, 2], "a JSON object is needed"),
    ],
)
def test_broken_verl_lines(fixtures, tmp_path, row, words):
    shutil.copytree(fixtures / "verl" / "rollout_data", tmp_path / "dump")
    with open(tmp_path / "dump" / "2.jsonl", "a") as file:
        file.write(json.dumps(row) + "\n")
    report = import_run("verl", tmp_path / "dump", tmp_path / "run")
    assert report.n_faults == 1
    assert "2.jsonl, line 5: " in report.faults[0]
    assert words in report.faults[0]


def test_broken_trl_files(fixtures, tmp_path):
    shutil.copytree(fixtures / "trl" / "completions", tmp_path / "dump")
    pd.DataFrame({"step": [7], "prompt": ["q"]}).to_parquet(tmp_path / "dump" / "completions_00007.parquet")
    shutil.copy(
        tmp_path / "dump" / "completions_00001.parquet", tmp_path / "dump" / "completions_00008.parquet"
    )
    report = import_run("trl", tmp_path / "dump", tmp_path / "run")
    assert (report.steps, report.n_faults) == (6, 2)
    assert "['completion', 'advantage'] are missing" in report.faults[0]
    assert "in the file of step 8" in report.faults[1]


def test_trl_written_now(tmp_path):
    """The newest TRL that is installed: a real training of two steps."""
    pytest.importorskip("trl")
    import sys
    from pathlib import Path

    sys.path.insert(0, str(Path(__file__).parents[1] / "trainers" / "trl"))
    from tiny_trl import count_reward, make_trainer

    trainer = make_trainer(tmp_path, rewards=count_reward, log_completions=True)
    trainer.train()
    report = import_run("trl", tmp_path / "output", tmp_path / "run", strict=True)
    assert report.steps == 2
    logged = [row["reward"] for row in trainer.state.log_history if "reward" in row]
    steps = el.open_run(tmp_path / "run").steps()
    np.testing.assert_allclose(steps["reward_mean"], logged, rtol=1e-6)
    trainer.state.save_to_json(str(tmp_path / "trainer_state.json"))
    from entropylab.importers.metrics_files import read_metrics

    (log,) = read_metrics(tmp_path / "trainer_state.json").values()
    assert "entropy" in log.names
    assert issubclass(MissingInputError, EntropylabError)
