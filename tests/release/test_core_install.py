"""The wheel alone: reading and analysis work; what needs an extra says which."""

from __future__ import annotations

from pathlib import Path

import pytest
from environments import ROOT

pytestmark = pytest.mark.release

USE = """
import sys
import entropylab as el
from entropylab.analysis.curve_data import fit_run
from entropylab.analysis.tail_data import analyze_run
assert "site-packages" in el.__file__, el.__file__
runs = el.open_runs(sys.argv[1])
run = el.open_run(sys.argv[1] + "/baseline-s0")
print(len(run.steps()), "steps", run.problems())
print(fit_run(run).summary().splitlines()[0])
print(analyze_run(run).summary().splitlines()[0])
print(el.compare_runs(runs).summary().splitlines()[0])
assert not {"torch", "matplotlib", "streamlit"} & set(sys.modules)
"""
LOSS = """
import numpy as np, entropylab as el
x = np.zeros((2, 3))
try:
    el.policy_loss(x, x, x, x)
except el.EntropylabError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.wheel
def test_a_run_is_opened_fitted_tested_and_compared(environment, runs: Path) -> None:
    said = environment().output("python", "-c", USE, runs)
    assert "400 steps []" in said


@pytest.mark.parametrize(
    "arguments", [["--help"], ["--version"], *([name, ""] for name in ("fit", "tails", "who", "dynamics"))]
)
def test_a_command_works(environment, runs: Path, arguments: list[str]) -> None:
    given = [str(runs / "baseline-s0") if word == "" else word for word in arguments]
    assert environment().output("entropylab", *given, codes=(0, 1))  # 1: a finding, such as no interval


def test_runs_are_compared_on_the_command_line(environment, runs: Path) -> None:
    assert "clip_cov" in environment().output("entropylab", "compare", runs, "--json")


@pytest.mark.wheel
def test_a_loss_without_torch_names_the_extra(environment) -> None:
    said = environment().output("python", "-c", LOSS)
    assert said.startswith("MissingExtraError")
    assert "pip install 'entropylab-rl[train]'" in said


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["dashboard", "RUNS"], "app"),
        (["report", "RUNS"], "app"),
        (["demo", "--out", "demo"], "train"),
        (["sql", "RUNS", "select count(*) from steps"], "sql"),
        (["fit", "memory://runs/one"], "s3"),
        (["summarize", "RUNS", "--engine", "ray"], "ray"),
    ],
)
def test_a_command_without_its_extra_names_it(
    environment, runs: Path, arguments: list[str], extra: str
) -> None:
    done = environment().run("entropylab", *[str(runs) if word == "RUNS" else word for word in arguments])
    assert done.returncode == 2, done.stdout + done.stderr
    assert f"entropylab-rl[{extra}]" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.wheel
def test_the_environment_sees_nothing_of_the_checkout(environment) -> None:
    said = environment().output("python", "-c", "import sys; print(*sys.path, sep='\\n')")
    assert str(ROOT) not in said
