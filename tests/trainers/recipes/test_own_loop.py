"""The ten lines of docs/trainers.md, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import entropylab as el

torch = pytest.importorskip("torch")
DOCS = Path(__file__).parents[3] / "docs" / "trainers.md"
ROWS, LENGTH, STEPS = 8, 70, 3


def test_the_loop_of_the_docs_trains_and_records(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = DOCS.read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.S) if "el.Recorder(" in block)
    g = torch.Generator().manual_seed(0)
    table = torch.nn.Parameter(torch.randn(ROWS, LENGTH, generator=g) - 2.0)
    start = table.detach().clone()

    def rollout(step):
        advantages = torch.randn(ROWS, generator=g)
        mask = torch.rand(ROWS, LENGTH, generator=g) < 0.9
        return table.detach().clone(), advantages, mask, torch.arange(ROWS) + 100 * step

    names = {
        "rollouts": (rollout(step) for step in range(STEPS)),
        "micro_batches": [slice(0, 3), slice(3, 8)],
        "logprobs": lambda rows: table[rows],
        "optimizer": torch.optim.SGD([table], lr=0.1),
    }
    exec(compile(code, str(DOCS), "exec"), names)
    run = el.open_run("runs/clip-cov")
    assert run.problems() == []
    assert run.method == "clip_cov_top"
    steps = run.steps()
    assert steps["step"].tolist() == list(range(STEPS))
    assert (steps["selected_count"] == [max(1, int(1e-3 * n)) for n in steps["n_tokens"]]).all()
    assert not torch.equal(table, start)
