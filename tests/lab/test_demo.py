from __future__ import annotations

import os
from pathlib import Path

import pytest

from entropylab.lab.demo import WARM_STARTS, run_demo
from entropylab.lab.evaluation import Evaluation
from entropylab.lab.progress import LabProgress

EVALUATION = Evaluation(0, "validation", 10, accuracy=0.345, accuracy_greedy=0.5, pass_at_8=0.7)


def test_lines_stand_in_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    with LabProgress() as bars:
        bars.warm_up("warm-up", 100)(50)
        bars.run("clip_cov", 10)(EVALUATION)
        bars.run("kl_cov", 10).skip()
    assert capsys.readouterr().err.splitlines() == [
        "warm-up: 100 supervised steps",
        "clip_cov, step 0 of 10, validation: accuracy 0.345",
        "kl_cov: already finished",
    ]


def test_bars_show_entropy_and_accuracy(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with LabProgress() as bars:
        bars.run("clip_cov", 10)(EVALUATION)
        bars.run("kl_cov", 10).skip()
    shown = capsys.readouterr().err
    assert "accuracy 0.345" in shown
    assert "already finished" in shown


def test_progress_can_be_off(capsys: pytest.CaptureFixture[str]) -> None:
    with LabProgress(enabled=False) as bars:
        bars.run("clip_cov", 10).skip()
    assert capsys.readouterr().err == ""


@pytest.mark.long
def test_demo_from_its_real_start(tmp_path: Path) -> None:
    """Its warm-up takes a minute, unless ENTROPYLAB_DEMO names the folder of a demo that has one."""
    if "ENTROPYLAB_DEMO" in os.environ:
        (tmp_path / WARM_STARTS).symlink_to(Path(os.environ["ENTROPYLAB_DEMO"], WARM_STARTS).resolve())
    (run,) = run_demo(tmp_path, steps=1, methods=["baseline"], progress=False)
    evaluations = run.evaluations()
    start = evaluations[evaluations["step"] == 0].set_index("metric")["value"]
    assert run.steps()["entropy_token_mean"].iloc[0] == pytest.approx(0.30, abs=0.05)
    assert start["accuracy"] == pytest.approx(0.35, abs=0.06)
    assert start["accuracy_greedy"] == pytest.approx(0.50, abs=0.08)
    assert start["pass@8"] == pytest.approx(0.79, abs=0.08)
