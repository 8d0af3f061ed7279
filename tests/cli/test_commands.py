"""Every reading command on real run folders: exit codes, strict JSON, tables of 80 columns."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import entropylab
from entropylab.cli.main import COMMANDS, app

SCRIPT = Path(sys.executable).with_name("entropylab")
READING = ("fit", "tails", "dynamics", "who", "compare")


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def strict(text: str) -> dict:
    def refuse(constant: str):
        raise AssertionError(f"{constant} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory) -> Path:
    """Two methods, two seeds, enough evaluations for an interval; treat as read-only."""
    folder = tmp_path_factory.mktemp("runs")
    for method in ("baseline", "clip_cov"):
        for seed in (0, 1):
            make_run(folder / method / f"s{seed}", method=method, seed=seed, steps=14, prompts=12)
    return folder


@pytest.fixture(scope="module")
def one_step(make_run, tmp_path_factory) -> Path:
    return make_run(tmp_path_factory.mktemp("one") / "one-step", steps=1, prompts=8).path


@pytest.fixture(scope="module")
def unevaluated(make_run, tmp_path_factory) -> Path:
    path = make_run(tmp_path_factory.mktemp("none") / "unevaluated", steps=4, prompts=8).path
    shutil.rmtree(path / "evaluations")
    return path


FEW = {"tails": ("--steps", "0-1"), "who": ("--steps", "0-1")}
"""Options of commands that read tokens, so that they read few."""


@pytest.mark.parametrize("command", READING)
def test_json_is_strict_and_names_every_run(runs, command):
    done = run(command, runs, "--json", *FEW.get(command, ()))
    document = strict(done.stdout)
    assert (document["version"], document["command"]) == (entropylab.__version__, command)
    assert [row["run"] for row in document["runs"]] == [
        "baseline/s0",
        "baseline/s1",
        "clip_cov/s0",
        "clip_cov/s1",
    ]
    assert all(row["problems"] == [] for row in document["runs"])
    assert done.exit_code in (0, 1)


@pytest.mark.parametrize("command", READING)
def test_tables_and_sentences_fit_80_columns(runs, command):
    done = run(command, runs if command == "compare" else runs / "clip_cov" / "s0")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert "nan" not in done.stdout


def test_fit_gives_the_numbers_of_fit_run(runs):
    from entropylab.analysis.curve_data import fit_run

    fit = fit_run(entropylab.open_run(runs / "baseline" / "s0"))
    row = strict(run("fit", runs / "baseline" / "s0", "--json").stdout)["runs"][0]
    assert row["ceiling"] == pytest.approx(fit.ceiling)
    assert f"{fit.ceiling:.3f}" in run("fit", runs / "baseline" / "s0").stdout


def test_compare_adds_the_comparison_itself(runs):
    document = strict(run("compare", runs, "--json").stdout)
    metrics = {row["metric"] for row in document["comparison"]["differences"]}
    assert {"entropy_end", "pass@8_end"} <= metrics
    assert run("compare", runs).exit_code == 0


def test_a_withheld_interval_is_a_finding(make_run, tmp_path):
    path = make_run(tmp_path / "short", steps=5, prompts=8).path
    done = run("fit", path, "--json")
    row = strict(done.stdout)["runs"][0]
    assert row["withheld"]
    assert row["intervals"]["ceiling"] is None
    assert done.exit_code == 1
    assert "withheld" in run("fit", path).stdout


@pytest.mark.parametrize("command", READING)
def test_one_step_and_no_evaluations_are_said_not_raised(one_step, unevaluated, command):
    for path in (one_step, unevaluated):
        done = run(command, path, "--json")
        assert done.exit_code in (0, 1), done.output
        strict(done.stdout)
        assert run(command, path).exit_code == done.exit_code


def test_a_run_without_evaluations_does_not_stop_the_others(runs, unevaluated):
    done = run("fit", unevaluated, runs / "baseline", "--json")
    rows = strict(done.stdout)["runs"]
    assert done.exit_code == 1
    assert "evaluations" in rows[0]["missing"]
    assert rows[1]["missing"] is None
    assert "ceiling" in rows[1]
    assert run("compare", unevaluated, runs / "baseline").exit_code == 1


def test_damaged_data_is_named_and_exits_1(make_run, tmp_path):
    path = make_run(tmp_path / "run", steps=4, prompts=8).path
    (path / "tokens" / "step-000003" / "rank-0000-a1.parquet").write_bytes(b"cut")
    done = run("compare", path, "--json")
    assert done.exit_code == 1
    assert "step-000003" in json.dumps(strict(done.stdout)["runs"][0]["problems"])


@pytest.mark.parametrize("command", [*READING, "report", "compact"])
def test_no_run_and_no_folder_are_wrong_use(tmp_path, command):
    (tmp_path / "notes.txt").write_text("not a run")
    for path in (tmp_path, tmp_path / "nowhere"):
        done = run(command, path)
        assert done.exit_code == 2
        assert str(path) in done.stderr
        assert len(done.stderr.strip().splitlines()) == 1


def test_a_foreign_run_file_is_wrong_use(tmp_path):
    (tmp_path / "_run.json").write_text('{"some": "thing"}')
    done = run("fit", tmp_path)
    assert done.exit_code == 2
    assert "_run.json" in done.stderr


def test_unknown_metric_method_and_steps_are_wrong_use(runs):
    for arguments in (
        ("fit", runs, "--performance", "elegance"),
        ("fit", runs, "--method", "magic"),
        ("fit", runs, "--level", "2"),
        ("tails", runs, "--steps", "a-b"),
        ("tails", runs, "--steps", "100-200"),
        ("fit",),
        ("no-such-command",),
    ):
        done = run(*arguments)
        assert done.exit_code == 2, arguments
        assert "Traceback" not in done.output


def test_steps_choose_the_tokens(runs):
    path = runs / "clip_cov" / "s0"
    row = strict(run("who", path, "--steps", "2-3", "--json").stdout)["runs"][0]
    assert row["steps"] == [2, 3]


def write_metrics(path: Path, law=lambda h: 1.2 - 0.5 * np.exp(h)) -> Path:
    steps = np.arange(60)
    entropy = 0.6 * np.exp(-steps / 20) + 0.02
    noise = np.random.default_rng(0).normal(0, 0.005, 60)
    rows = [f"{s},{h},{r}" for s, h, r in zip(steps, entropy, law(entropy) + noise, strict=True)]
    path.write_text("\n".join(["step,actor/entropy,val/acc", *rows]) + "\n")
    return path


def test_fit_reads_a_metrics_file(tmp_path):
    path = write_metrics(tmp_path / "log.csv")
    done = run("fit", path, "--entropy", "actor/entropy", "--performance", "val/acc", "--json")
    row = strict(done.stdout)["runs"][0]
    assert row["run"] == "log.csv"
    assert row["a"] == pytest.approx(0.5, abs=0.02)
    assert row["intervals"]["ceiling"][0] < 0.7 < row["intervals"]["ceiling"][1]
    assert done.exit_code == 0


def test_fit_of_a_file_without_columns_or_that_is_absent_is_said(tmp_path):
    path = write_metrics(tmp_path / "log.csv")
    done = run("fit", path)
    assert done.exit_code == 2
    assert "--entropy" in done.stderr
    done = run("fit", tmp_path / "none.csv", "--entropy", "H", "--performance", "R")
    assert done.exit_code == 2
    assert "none.csv" in done.stderr


def test_report_is_written_and_its_place_is_said(runs, tmp_path):
    target = tmp_path / "report.html"
    done = run("report", runs / "baseline" / "s0", "-o", target, "--json")
    assert done.exit_code == 0
    assert strict(done.stdout)["report"] == str(target)
    assert target.read_text().startswith("<!doctype html>")
    assert run("report", runs / "baseline" / "s0", "-o", tmp_path / "no" / "report.html").exit_code == 2


def test_a_report_that_lacks_something_says_what_and_exits_1(unevaluated, tmp_path):
    done = run("report", unevaluated, "-o", tmp_path / "report.html", "--json")
    assert done.exit_code == 1
    assert any("evaluations" in line for line in strict(done.stdout)["missing"])


def test_compact_leaves_fewer_files_and_the_same_numbers(make_run, tmp_path):
    path = make_run(tmp_path / "run", steps=6, prompts=8).path
    before = strict(run("tails", path, "--json").stdout)
    done = run("compact", path, "--json")
    row = strict(done.stdout)["runs"][0]
    assert done.exit_code == 0
    assert row["files_after"] < row["files_before"]
    assert strict(run("tails", path, "--json").stdout) == before


def test_the_installed_script_prints_its_version_and_one_line_for_an_error(tmp_path):
    done = subprocess.run([SCRIPT, "--version"], capture_output=True, text=True, check=True)
    assert done.stdout == f"entropylab {entropylab.__version__}\n"
    done = subprocess.run([SCRIPT, "fit", tmp_path], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("entropylab: ")
    assert done.stderr.count("\n") == 1


def test_json_of_the_installed_script_is_alone_on_stdout(runs):
    done = subprocess.run(
        [SCRIPT, "who", runs / "baseline" / "s0", "--json"], capture_output=True, text=True, check=False
    )
    strict(done.stdout)


def test_every_command_has_a_line_of_help():
    text = run("--help").stdout
    for name in COMMANDS:
        assert name in text
        assert run(name, "--help").exit_code == 0


def test_who_scans_every_token_over_the_engine_of_the_options(runs):
    path = runs / "clip_cov" / "s0"
    every = strict(run("who", path, "--json").stdout)["runs"][0]
    scanned = run("who", path, "--scan", "--workers", "1", "--json")
    found = strict(scanned.stdout)["runs"][0]
    assert scanned.exit_code == 0
    assert (found["n"], found["n_selected"]) == (every["n"], every["n_selected"])
    assert [row["count"] for row in found["tokens"]] == [row["count"] for row in every["tokens"]]
    assert (found["errors"], found["left_out"]) == ({}, [])
    shown = run("who", path, "--scan", "--workers", "1").stdout
    assert "of the tokens of highest covariance" in " ".join(shown.split())
    assert max(map(len, shown.splitlines())) <= 80
    assert run("who", path, "--scan", "--engine", "spark").exit_code == 2


HEAVY = {"torch", "matplotlib", "streamlit", "plotly", "transformers"}


def loaded(code: str) -> set[str]:
    """Top-level modules loaded after ``code`` in a fresh process."""
    code += "\nimport sys; print('LOADED', *sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split()[1:])


def test_importing_the_command_line_loads_nothing_heavy():
    assert not loaded("import entropylab.cli.main") & (HEAVY | {"pandas", "scipy", "pyarrow"})


def test_the_help_of_every_command_loads_nothing_heavy():
    calls = [["--help"], *([name, "--help"] for name in COMMANDS)]
    code = (
        "from typer.testing import CliRunner; from entropylab.cli.main import app\n"
        f"for call in {calls!r}: assert CliRunner().invoke(app, call).exit_code == 0"
    )
    assert not loaded(code) & (HEAVY | {"pandas", "scipy", "pyarrow"})


def test_fit_tails_who_and_compare_never_load_torch_or_matplotlib(runs):
    paths = {name: str(runs if name == "compare" else runs / "baseline" / "s0") for name in READING}
    call = (
        "from typer.testing import CliRunner; from entropylab.cli.main import app\n"
        f"for name, path in {paths!r}.items(): CliRunner().invoke(app, [name, path])"
    )
    found = loaded(call)
    assert not found & HEAVY
    assert "pandas" in found


@pytest.mark.long
def test_the_isolation_test_can_fail():
    assert "matplotlib" in loaded("import entropylab.plots.figure")
