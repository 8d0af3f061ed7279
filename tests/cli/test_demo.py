from __future__ import annotations

import importlib.util

import pytest
from typer.testing import CliRunner

import entropylab
from entropylab.cli.main import app

torch = pytest.importorskip("torch")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A real demo of two steps, of an untrained policy and on a tenth of the held-out problems."""
    from entropylab.lab import training
    from entropylab.lab.demo import WARM_STARTS
    from entropylab.lab.model import build_model
    from entropylab.lab.settings import START_B
    from entropylab.lab.warmup import start_path

    out = tmp_path_factory.mktemp("demo")
    start = start_path(out / WARM_STARTS, START_B)
    start.parent.mkdir()
    torch.save(build_model(0).state_dict(), start)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training, "held_out_problems", lambda task, split: task.problem_ids(split)[::10])
        return out, CliRunner().invoke(app, ["demo", "--out", str(out), "--steps", "2"])


def test_the_demo_trains_tells_and_reports(demo):
    out, done = demo
    assert done.exit_code == 0, done.output
    assert [run.method for run in entropylab.open_runs(out)] == ["baseline", "clip_cov", "kl_cov"]
    text = " ".join(done.stdout.split())
    assert "108,800 parameters" in text
    assert "Less the baseline: mean accuracy" in text
    assert f"entropylab dashboard {out}" in text
    assert (out / "report.html").read_text().startswith("<!doctype html>")
    assert max(map(len, done.stdout.splitlines())) <= max(80, len(f"Next: entropylab dashboard {out}"))
    assert "nan" not in done.stdout


def test_other_settings_in_the_same_folder_are_one_clear_error(demo):
    out, _ = demo
    done = CliRunner().invoke(app, ["demo", "--out", str(out), "--steps", "3"])
    assert done.exit_code == 2
    assert "steps 2 instead of 3" in done.stderr


def test_an_unknown_head_is_one_clear_error(tmp_path):
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--head", "both"])
    assert done.exit_code == 2
    assert "head is 'both': choose one of logits, fused" in done.stderr


def test_without_torch_the_command_that_installs_it_is_named(monkeypatch, tmp_path):
    real = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == "torch" else real(name, *rest)
    )
    done = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo")])
    assert done.exit_code == 2
    assert "entropylab-rl[train]" in done.stderr
    assert not (tmp_path / "demo").exists()
