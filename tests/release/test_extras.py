"""Each extra installs, and what it is for works."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from environments import ROOT, TORCH

pytestmark = pytest.mark.release

TRAIN = """
import torch, entropylab as el
logprobs = (-torch.rand(4, 8)).requires_grad_()
mask = torch.ones(4, 8, dtype=torch.bool)
out = el.policy_loss(logprobs, logprobs.detach(), torch.randn(4), mask, control=el.ClipCov.top(fraction=0.1))
out.loss.backward()
print(int(out.tokens["selected"].sum()), "selected")
"""
STORE = """
import numpy as np, entropylab as el
rng = np.random.default_rng(0)
with el.Recorder("memory://runs/one") as recorder:
    x = {"logprobs": -rng.random((4, 8)), "advantages": rng.normal(size=4), "mask": np.ones((4, 8), bool)}
    recorder.record(0, None, **x)
print(el.open_run("memory://runs/one").steps()["n_tokens"].tolist())
"""


def test_train_gives_the_losses(environment) -> None:
    assert "3 selected" in environment("train", TORCH).output("python", "-c", TRAIN)


def test_s3_gives_runs_by_url(environment) -> None:
    assert "[32]" in environment("s3").output("python", "-c", STORE)


def test_sql_gives_queries(environment, runs: Path) -> None:
    ask = "select count(*) as n from steps"
    assert "400" in environment("sql").output("entropylab", "sql", runs / "baseline-s0", ask)


def test_ray_gives_its_engine(environment, runs: Path) -> None:
    chosen = ["--engine", "ray", "--workers", "1", "--json"]
    assert '"n_tokens"' in environment("ray").output("entropylab", "summarize", runs / "baseline-s0", *chosen)


def test_app_gives_the_report(environment, runs: Path) -> None:
    ours = environment("app")
    ours.output("entropylab", "report", runs, "-o", "report.html")
    assert "<svg" in (ours.place / "report.html").read_text()


def test_all_gives_the_losses_and_the_dashboard(environment) -> None:
    ours = environment("all", TORCH)
    assert "3 selected" in ours.output("python", "-c", TRAIN)
    checks = json.loads(ours.output("entropylab", "doctor", "--json", codes=(0, 1)))["checks"]
    fine = {check["name"] for check in checks if check["fine"]}
    assert {"torch", "streamlit", "dashboard"} <= fine


def test_trl_gives_attach(environment) -> None:
    page = (ROOT / "docs" / "tutorials" / "control-a-trl-run.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", page, flags=re.MULTILINE | re.DOTALL)
    assert "clip_cov" in environment("trl", TORCH).output("python", "-c", "\n".join(blocks))


def test_verl_is_found_by_its_entry_point_name(environment) -> None:
    """verl itself needs vLLM or SGLang and CUDA: ``make test-verl`` runs the plug-in inside it."""
    code = "from importlib.metadata import entry_points; print(*entry_points(group='verl.plugins'))"
    assert "entropylab.trainers.verl" in environment().output("python", "-c", code)
