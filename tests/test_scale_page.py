"""The page on scale is that of the kept figures; its examples and commands run where their engines are."""

from __future__ import annotations

import importlib.util
import io
import json
import re
import shlex
import shutil
from contextlib import redirect_stdout
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entropylab.cli.main import app

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "scale.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", PAGE, flags=re.DOTALL)
EXAMPLES = [text for language, text in BLOCKS if language == "python"]
MEANS = [text for text in EXAMPLES if "covariance" in text]
COMMANDS = [line for language, text in BLOCKS if not language for line in text.strip().splitlines()]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    monkeypatch.chdir(ROOT)


def printed(example: str) -> str:
    for engine in ("duckdb", "polars", "pyspark"):
        if engine in example or (engine == "duckdb" and "run.sql" in example):
            pytest.importorskip(engine)
    with redirect_stdout(io.StringIO()) as out:
        exec(example, {})
    return out.getvalue()


def test_the_page_shows_the_kept_figures() -> None:
    spec = importlib.util.spec_from_file_location("docs_scale", ROOT / "docs" / "scale.py")
    maker = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(maker)
    assert maker.page(json.loads(maker.RESULTS.read_text())) == PAGE, "run make pictures"


def test_the_summaries_run() -> None:
    (example,) = (text for text in EXAMPLES if text not in MEANS)
    assert "400 steps" in printed(example)


@pytest.mark.parametrize("example", MEANS, ids=["duckdb", "polars", "pandas", "spark"])
def test_every_engine_gives_the_same_means(example: str) -> None:
    found = re.findall(r"-?\d+\.\d{4,}(?:[eE][+-]?\d+)?", printed(example))
    expected = re.findall(r"-?\d+\.\d{4,}(?:[eE][+-]?\d+)?", printed(MEANS[2]))
    assert [float(x) for x in found] == pytest.approx([float(x) for x in expected], abs=1e-5)
    assert len(found) == 3


@pytest.mark.quick("entropylab summarize sample_logs/start-a")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_runs(command: str, tmp_path, monkeypatch) -> None:
    program, *arguments = shlex.split(command)
    assert program == "entropylab"
    if "sample_logs/start-a" in arguments:  # two of its nine runs do
        for run in ("baseline-s0", "clip_cov-s0"):
            shutil.copytree(ROOT / "sample_logs/start-a" / run, tmp_path / "sample_logs/start-a" / run)
        monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code in (0, 1), done.output
    assert "steps" in done.output
