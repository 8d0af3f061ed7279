"""``entropylab import``: exit codes, strict JSON, and what the other commands make of an imported run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entropylab.cli.main import app

FIXTURES = Path(__file__).parents[1] / "importers" / "fixtures"


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def exports(tmp_path) -> Path:
    """Token exports of prime-rl whose entropy falls from step to step."""
    rows = 60
    for step in range(1, 16):
        folder = tmp_path / "dump" / "token_exports" / f"step_{step}"
        folder.mkdir(parents=True)
        with open(folder / "rank_0.jsonl", "w") as file:
            for i in range(rows):
                advantage, value = (i % 5) - 2.0, -0.1 - (i * 7 % 11) / 10
                record = {"schema_version": 1, "step": step, "token_ids": [i % 20, 1, 2, 3]}
                record |= {"loss_mask": [0, 1, 1, 1], "advantages": [advantage] * 4}
                record |= {"trainer_logprobs": [0.0, value, value / 2, -0.3], "entropy": [1.5 / step] * 4}
                record |= {"inference_logprobs": [0.0, value, value / 2, -0.3], "is_masked": None}
                file.write(json.dumps(record) + "\n")
    return tmp_path / "dump"


def metrics_of(path: Path) -> Path:
    path.write_text("step,score\n" + "".join(f"{s},{0.8 - 0.1 * 2 ** (1 / s)}\n" for s in range(1, 16)))
    return path


def test_an_imported_run_goes_through_every_analysis(exports, tmp_path):
    beside = ["--metrics", metrics_of(tmp_path / "scores.csv"), "--performance", "score", "--n-problems", 100]
    done = run("import", "prime-rl", exports, tmp_path / "run", "--method", "baseline", *beside)
    assert done.exit_code == 0, done.output
    for command in (["fit", "--performance", "score"], ["tails"], ["who"], ["compare"]):
        found = run(*command, tmp_path / "run", "--json")
        (row,) = json.loads(found.stdout)["runs"]
        assert (row.get("missing"), row["problems"]) == (None, []), (command, found.output)
    assert run("doctor", tmp_path / "run").exit_code in (0, 1)


def test_json_says_what_was_imported_and_what_is_missing(exports, tmp_path):
    done = run("import", "prime-rl", exports, tmp_path / "run", "--json")
    document = json.loads(done.stdout)
    (row,) = document["runs"]
    assert document["command"] == "import"
    assert (row["run"], row["steps"], row["responses"], row["tokens"], row["n_faults"]) == (
        "run",
        15,
        900,
        2700,
        0,
    )
    assert row["missing"] == ["log-probabilities of the reference policy", "rewards", "evaluations"]


def test_broken_lines_exit_1_and_strict_exits_2(exports, tmp_path):
    path = exports / "token_exports" / "step_4" / "rank_0.jsonl"
    path.write_text(path.read_text() + "{\n")
    done = run("import", "prime-rl", exports, tmp_path / "run")
    assert done.exit_code == 1
    assert "line 61" in "".join(done.stdout.split("\n")).replace("line\n", "line ")
    strict = run("import", "prime-rl", exports, tmp_path / "strict", "--strict")
    assert strict.exit_code == 2
    assert "step_4/rank_0.jsonl, line 61" in strict.stderr
    assert not (tmp_path / "strict").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["slime", "SRC", "DEST"], "format 'slime' does not exist"),
        (["verl", "absent", "DEST"], "no such file or folder"),
        (["trl", "SRC", "DEST"], "no trl dump there"),
        (["prime-rl", "SRC", "SRC"], "exists already"),
        (["prime-rl", "SRC", "DEST", "--performance", "x"], "--metrics FILE"),
    ],
)
def test_wrong_use_exits_2(exports, tmp_path, arguments, words):
    places = {"SRC": exports, "DEST": tmp_path / "run"}
    done = run("import", *(places.get(a, a) for a in arguments))
    assert done.exit_code == 2
    assert words in done.stderr
    assert not (tmp_path / "run").exists()


def test_text_dumps_say_what_they_lack(tmp_path):
    shutil.copytree(FIXTURES / "verl" / "rollout_data", tmp_path / "dump")
    done = run("import", "verl", tmp_path / "dump", tmp_path / "run")
    assert done.exit_code == 0
    assert "Not in the source, so null in the run: tokens" in " ".join(done.stdout.split())
    for command, words in (("fit", "no evaluations"), ("tails", "no token rows"), ("who", "no token rows")):
        found = run(command, tmp_path / "run", "--json")
        assert found.exit_code == 1
        assert words in json.loads(found.stdout)["runs"][0]["missing"]


def test_the_help_names_every_format():
    from entropylab.importers.formats import FORMATS

    text = " ".join(run("import", "--help").stdout.replace("│", " ").split())
    assert all(name in text for name in FORMATS)
