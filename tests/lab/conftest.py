from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from filelock import FileLock

from entropylab.lab import training
from entropylab.lab.settings import Start
from entropylab.lab.warmup import load_start

WEAK_START = Start("weak", stop=300, schedule=400, chains=20_000)
"""About 1 % right at T = 1: enough for some rewards in each step."""


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def starts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds the weak warm start of seed 0, the same in every worker of pytest-xdist."""
    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "starts"
    with FileLock(f"{folder}.lock"):
        load_start(folder, WEAK_START)
    return folder


@pytest.fixture(scope="session")
def weak_start() -> Start:
    return WEAK_START


@pytest.fixture
def few_problems(monkeypatch: pytest.MonkeyPatch) -> None:
    """Evaluations on the first 24 problems of a split."""
    monkeypatch.setattr(training, "held_out_problems", lambda task, split: task.problem_ids(split)[:24])
