"""The committed tables are what the committed results give; what the released runs share is shared."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import arms
import figures
import influence
import law
import markdown_tables
import methods
import page
import pandas as pd
import pytest
import runner
import stored
import tails

from entropylab.lab import training
from entropylab.lab.countdown import all_problems, solutions
from entropylab.lab.settings import Start
from entropylab.lab.training import StepResult, train
from entropylab.lab.warmup import load_start
from entropylab.record.reader import open_run

STUDY = Path(methods.__file__).parent
TABLES = STUDY / "tables"


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(markdown_tables, "OUT", tmp_path)
    monkeypatch.setattr(runner, "RUNS", tmp_path / "runs")
    monkeypatch.setattr(runner, "STARTS", tmp_path / "starts")
    return tmp_path


def test_the_tables_of_the_methods_are_those_of_the_results(elsewhere: Path) -> None:
    frames = [pd.read_parquet(path) for path in (stored.SCORES, stored.CURVES, stored.STARTS_FILE)]
    for regime in (regime.name for regime in arms.METHOD_REGIMES):
        own = [frame[frame["regime"] == regime] for frame in frames]
        if len(own[0]):
            methods.write(regime, *own)
            name = f"methods-{regime}.md"
            assert (elsewhere / name).read_text() == (TABLES / name).read_text()


def test_the_comparisons_named_in_advance_are_those_of_the_results() -> None:
    assert methods.primary(pd.read_parquet(stored.SCORES)) in (TABLES / "primary.md").read_text()


def test_the_table_of_the_influence_is_that_of_the_results() -> None:
    text = (TABLES / "influence.md").read_text()
    assert all(part in text for part in influence.pages(pd.read_parquet(influence.INFLUENCE)))


@pytest.mark.long
def test_the_tables_of_the_law_are_those_of_the_results() -> None:
    assert law.forecast_table(law.sized_runs()) in (TABLES / "law.md").read_text()


@pytest.mark.long
def test_the_pages_are_those_of_the_templates_and_the_results() -> None:
    for path, text in page.pages().items():
        assert path.read_text() == text, "python docs/study/page.py"


@pytest.mark.long
def test_every_picture_is_drawn_from_the_results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(figures, "OUT", tmp_path)
    figures.main()
    for path in (STUDY / "pictures").iterdir():
        assert (tmp_path / path.name).read_text() == path.read_text(), (
            f"{path.name}: python docs/study/figures.py"
        )


def test_the_table_of_the_tails_is_that_of_the_results() -> None:
    text = (TABLES / "tails.md").read_text()
    found = pd.read_parquet(tails.TAILS)
    assert tails.table(found, "A") in text


def test_a_released_run_is_the_run_that_is_released(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on from the branch it has the same entropies, to the bit, as trained from the start."""
    short = replace(arms.START_A, steps=5, start=Start("short", stop=20, schedule=20, chains=640))
    monkeypatch.setitem(arms.REGIMES, "A", short)
    monkeypatch.setattr(runner, "SAMPLES", 2)
    monkeypatch.setattr(training, "held_out_problems", lambda task, split: task.problem_ids(split)[:8])
    job = runner.Job("A", "clip_cov_top", 1, 0)
    runner.make(job)
    assert job.is_done
    settings = short.settings(1, 0)
    events = train(load_start(elsewhere / "starts", settings.start), job.methods()[1], settings)
    expected = [e.rollout.entropy.mean().item() for e in events if isinstance(e, StepResult)]
    run = open_run(job.folder / "clip_cov_top-released")
    assert run.steps()["entropy_token_mean"].tolist() == pytest.approx(expected, rel=1e-6)
    assert run.steps()["selected_count"].gt(0).tolist() == [True, True, True, False, False]


def test_the_problems_that_need_multiplication_have_no_other_answer() -> None:
    needed = methods.needs_multiplication()
    assert 0.3 < len(needed) / len(all_problems()) < 0.6
    problem = all_problems()[min(needed)]
    right = [chain for chain in solutions(problem.numbers) if chain[-1] == problem.target]
    assert right
    assert all(methods.TIMES in (chain[1], chain[6]) for chain in right)
