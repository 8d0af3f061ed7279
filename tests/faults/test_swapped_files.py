"""Whole, intact files in the wrong place: a copy, a swap. Named, never read as data."""

from __future__ import annotations

import shutil

import pytest

import entropylab as el

MARKER = "markers/step-{:06d}/rank-{:04d}-a1.json"
TOKENS = "tokens/step-{:06d}/rank-{:04d}-a1.parquet"
RESPONSES = "responses/step-{:06d}/rank-{:04d}-a1.parquet"
EVALUATION = "evaluations/step-{:06d}/validation-accuracy-a1.json"


@pytest.fixture
def folder(fast):
    """Three steps of two ranks, all of the same number of rows."""
    import numpy as np

    for rank in range(2):
        with el.Recorder(fast / "r", rank=rank, world_size=2) as recorder:
            for step in range(3):
                draw = np.random.default_rng([step, rank])
                logprobs = -draw.exponential(size=(4, 6))
                values = {"advantages": draw.normal(size=4), "mask": np.ones((4, 6)), "entropy": -logprobs}
                recorder.record(step, logprobs=logprobs, **values)
                if rank == 0:
                    recorder.evaluate(step, value=step / 10, n=5)
    return fast / "r"


def check_named(folder, name: str) -> None:
    problems = el.open_run(folder).problems()
    assert any(name in text for p in problems for text in (p.path, p.message)), problems


@pytest.mark.parametrize("pattern", [MARKER, EVALUATION])
def test_a_copy_at_another_step(folder, pattern, outcome):
    before = el.open_run(folder).steps()
    target = folder / pattern.format(7, 0)
    target.parent.mkdir()
    shutil.copy(folder / pattern.format(1, 0), target)
    check_named(folder, pattern.format(7, 0))
    assert el.open_run(folder).steps().equals(before)
    assert el.open_run(folder).evaluations()["step"].tolist() == [0, 1, 2]
    outcome("an intact file at another step", sees="named in problems()")


def test_the_marker_of_another_rank(folder):
    shutil.copy(folder / MARKER.format(1, 0), folder / MARKER.format(1, 1))
    check_named(folder, MARKER.format(1, 1))
    assert 1 not in el.open_run(folder).steps()["step"].tolist()


@pytest.mark.parametrize("pattern", [TOKENS, RESPONSES])
@pytest.mark.parametrize("other", [(2, 0), (1, 1)])
def test_rows_of_another_step_or_rank_with_the_same_number_of_rows(folder, pattern, other, outcome):
    shutil.copy(folder / pattern.format(*other), folder / pattern.format(1, 0))
    run = el.open_run(folder)
    with pytest.raises(el.EntropylabError, match="step-000001/rank-0000"):
        list(run.tokens() if pattern == TOKENS else run.responses())
    check_named(folder, pattern.format(1, 0))
    outcome("intact rows of another step or rank", sees="named in problems(); reading: RunFormatError")
