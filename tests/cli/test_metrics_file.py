"""``entropylab fit`` on step-level logs, without any run folder."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entropylab.cli.main import app
from entropylab.cli.metrics_file import is_metrics_file, read_points

FIXTURES = Path(__file__).parents[1] / "importers" / "fixtures"


def fit(*arguments: object):
    return CliRunner().invoke(app, ["fit", *map(str, arguments)])


def law_file(path: Path, steps: int = 40, every: int = 2, extra: str = "") -> Path:
    """Entropies each step, evaluations each ``every``-th, on one line in the middle an entropy of NaN."""
    rows = ["step,actor/entropy,val/acc"]
    for step in range(steps):
        entropy = 1.2 * math.exp(-step / 12)
        score = 0.8 - 0.2 * math.exp(entropy) + 0.004 * math.sin(7 * step)
        rows.append(f"{step},{entropy},{score if step % every == 0 else ''}")
    path.write_text("\n".join([*rows, *([extra] if extra else [])]) + "\n")
    return path


def test_the_fit_is_that_of_the_same_points(tmp_path):
    import entropylab as el

    path = law_file(tmp_path / "metrics.csv")
    done = fit(path, "--entropy", "actor/entropy", "--performance", "val/acc", "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 0, done.output
    (row,) = document["runs"]
    frame = read_points(str(path), "actor/entropy", "val/acc")["metrics.csv"].frame
    wanted = el.fit_curve(frame["entropy"], frame["performance"], steps=frame["step"])
    assert (row["run"], row["n_points"], row["problems"]) == ("metrics.csv", 20, [])
    assert row["ceiling"] == wanted.ceiling
    assert document["logs"] == [
        {"run": "metrics.csv", "path": str(path), "entropy": "actor/entropy", "performance": "val/acc"}
        | {"step": "step", "names_of": None}
    ]


@pytest.mark.parametrize(
    ("place", "trainer"),
    [
        ("verl/file_logger.jsonl", "verl"),
        ("verl/console.log", "verl"),
        ("trl/trainer_state.json", "TRL"),
        ("trl/runs", "TRL"),
        ("tensorboard/torch", "verl"),
        ("tensorboard/tensorboardX", "TRL"),
        ("trackio/law.db", "TRL"),
    ],
)
def test_every_log_needs_no_names(place, trainer):
    done = fit(FIXTURES / place, "--json")
    document = json.loads(done.stdout, parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert done.exit_code in (0, 1), done.output
    assert {log["names_of"] for log in document["logs"]} == {trainer}
    assert all(row["missing"] is None and row["n_points"] >= 3 for row in document["runs"])


def test_each_run_of_a_database_is_a_row():
    done = fit(FIXTURES / "trackio" / "law.db", "--json")
    assert [row["run"] for row in json.loads(done.stdout)["runs"]] == ["baseline", "clip-cov"]


def test_the_columns_are_told_in_words():
    done = fit(FIXTURES / "verl" / "file_logger.jsonl")
    assert "H = actor/entropy, R = val-core/openai/gsm8k/acc/mean@8" in " ".join(done.stdout.split())
    assert "(names of verl)" in " ".join(done.stdout.split())
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_values_that_are_not_finite_are_data_problems_and_exit_1(tmp_path):
    path = law_file(tmp_path / "metrics.csv", extra="40,nan,0.5")
    done = fit(path, "--entropy", "actor/entropy", "--performance", "val/acc", "--json")
    (row,) = json.loads(done.stdout)["runs"]
    assert done.exit_code == 1
    assert "1 of 41 values of 'actor/entropy' are NaN or infinite" in row["problems"][0]["message"]


def test_a_broken_line_is_a_data_problem(tmp_path):
    path = law_file(tmp_path / "metrics.csv", extra="40,0.3")
    done = fit(path, "--entropy", "actor/entropy", "--performance", "val/acc")
    assert done.exit_code == 1
    assert "line 42: 2 values for 3 columns" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--entropy COL --performance COL; it has: step, actor/entropy, val/acc"),
        (["--entropy", "H", "--performance", "val/acc"], "No column 'H' in"),
        (["--entropy", "actor/entropy"], "--performance COL"),
        (["--entropy", "actor/entropy", "--performance", "val/acc", "--step", "t"], "No column 't'"),
    ],
)
def test_wrong_columns_are_named_and_exit_2(tmp_path, arguments, words):
    done = fit(law_file(tmp_path / "metrics.csv"), *arguments)
    assert done.exit_code == 2
    assert words in " ".join(done.stderr.split())


def test_a_missing_file_is_named():
    done = fit("absent.csv", "--entropy", "H", "--performance", "R")
    assert done.exit_code == 2
    assert "No file at absent.csv" in done.stderr


def test_logs_and_runs_go_together(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=14, prompts=8)
    done = fit(run.path, FIXTURES / "verl" / "file_logger.jsonl", "--json")
    document = json.loads(done.stdout)
    assert [row["run"] for row in document["runs"]] == ["file_logger.jsonl", "run"]


def test_folders_are_no_metrics_files(tmp_path):
    (tmp_path / "run.csv").mkdir()
    assert not is_metrics_file(str(tmp_path / "run.csv"))
    assert is_metrics_file("x/log.csv")
