"""The page on losses from hidden states is that of the kept figures, and its example runs."""

from __future__ import annotations

import importlib.util
import json
import re
from pathlib import Path

import torch

ROOT = Path(__file__).parent.parent


def page_maker():
    spec = importlib.util.spec_from_file_location("docs_heads", ROOT / "docs" / "heads.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_the_kept_figures() -> None:
    maker = page_maker()
    results = json.loads(maker.RESULTS.read_text())
    assert maker.page(results) == maker.OUT.read_text(encoding="utf-8"), "run make pictures"


def test_the_example_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "heads.md").read_text(), re.DOTALL)
    torch.manual_seed(0)
    head = torch.nn.Linear(8, 50, bias=False)
    given = {
        "head": head,
        "hidden": torch.randn(2, 5, 8, requires_grad=True),
        "tokens": torch.randint(0, 50, (2, 5)),
        "old_logprobs": torch.full((2, 5), -4.0),
        "advantages": torch.randn(2),
        "mask": torch.ones(2, 5, dtype=torch.bool),
    }
    exec(code, given)
    assert head.weight.grad.abs().sum() > 0
    assert given["out"].tokens["entropy"].shape == (2, 5)
