from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

from entropylab import open_run, open_runs
from entropylab.errors import InvalidInputError, RunFormatError, UnknownNameError
from entropylab.lab.countdown import VOCABULARY
from entropylab.lab.experiment import RunPlan, make_run, run_preset
from entropylab.lab.samples import make_compact_run, sample_plans
from entropylab.lab.settings import DEMO, Preset, Start
from entropylab.lab.warmup import load_start, start_path
from entropylab.losses.settings import from_dict
from entropylab.record.reader import Run


@pytest.fixture
def preset(weak_start: Start) -> Preset:
    return DEMO.with_settings(start=weak_start, steps=3, evaluate_every=2, token_every=2)


@pytest.fixture
def whole_plan(preset: Preset, tmp_path: Path) -> RunPlan:
    """Evaluated on every problem of a split."""
    return RunPlan(tmp_path / "run", preset.methods[1], preset.settings)


@pytest.fixture
def plan(whole_plan: RunPlan, few_problems: None) -> RunPlan:
    return whole_plan


@pytest.fixture
def short_plan(plan: RunPlan) -> RunPlan:
    return replace(plan, settings=replace(plan.settings, steps=1))


def token_table(run: Run) -> pa.Table:
    return pa.Table.from_batches(list(run.tokens()))


def test_a_run_end_to_end(whole_plan: RunPlan, starts: Path) -> None:
    plan, events = whole_plan, []
    assert make_run(plan, starts, on_event=events.append)
    run = open_run(plan.folder)
    assert run.problems() == []
    assert run.method == "clip_cov"
    assert len(events) == 3 + 4
    _check_config(run, plan)
    _check_steps(run)
    _check_evaluations(run)
    _check_tokens(run)


def _check_config(run: Run, plan: RunPlan) -> None:
    assert run.config["method_key"] == "clip_cov"
    assert from_dict(run.config["surrogate"]) == plan.method.surrogate
    assert from_dict(run.config["control"]) == plan.method.control
    assert run.config["vocabulary"] == list(VOCABULARY)
    assert run.config["start"] == "weak"
    assert run.config["seed"] == 0
    assert run.config["model"]["width"] == 64
    assert run.config["libraries"]["torch"] == torch.__version__


def _check_steps(run: Run) -> None:
    steps = run.steps()
    assert steps["step"].tolist() == [0, 1, 2]
    assert (steps["n_tokens"] == 2560).all()
    assert (steps["n_responses"] == 256).all()
    assert ((steps["entropy_token_mean"] > 0) & (steps["entropy_after_token_mean"] > 0)).all()
    assert {"metrics/loss", "metrics/grad_norm"} <= set(steps.columns)
    assert len(run.steps(by="update")) == 12


def _check_evaluations(run: Run) -> None:
    evaluations = run.evaluations()
    places = sorted(set(zip(evaluations["step"], evaluations["split"], strict=True)))
    assert places == [(0, "validation"), (2, "validation"), (3, "test"), (3, "validation")]
    assert set(evaluations["metric"]) == {"accuracy", "accuracy_greedy", "pass@8"}
    assert dict(zip(evaluations["split"], evaluations["n"], strict=True)) == {"validation": 387, "test": 599}


def _check_tokens(run: Run) -> None:
    assert run.token_steps() == [0, 2]
    tokens = token_table(run).to_pandas()
    assert len(tokens) == 2 * 2560
    one = tokens[(tokens["step"] == 2) & (tokens["update"] == 1)]
    centred = (one["advantage"] - one["advantage"].mean()) * (one["logprob"] - one["logprob"].mean())
    np.testing.assert_allclose(one["covariance"], centred, atol=1e-5)
    assert one["token_id"].between(0, 47).all()
    responses = pa.Table.from_batches(list(run.responses())).to_pandas()
    assert responses["sample_id"].is_unique
    with_text = responses[responses["step"] != 1]
    assert with_text["text"].str.split().str.len().eq(10).all()
    assert responses[responses["step"] == 1]["text"].isna().all()


def test_observing_does_not_change_training(
    short_plan: RunPlan, starts: Path, preset: Preset, run_alone: Callable[..., list[float]]
) -> None:
    plan = replace(short_plan, settings=replace(short_plan.settings, steps=2))
    make_run(plan, starts)
    recorded = open_run(plan.folder).steps()["entropy_token_mean"]
    assert recorded.tolist() == pytest.approx(run_alone(plan), rel=1e-6)


@pytest.fixture
def run_alone(starts: Path) -> Callable[..., list[float]]:
    """Entropies of the steps of a plan that nothing records or evaluates."""
    from entropylab.lab.training import make_learner, train_step

    def run(plan: RunPlan) -> list[float]:
        model = load_start(starts, plan.settings.start)
        learner = make_learner(model, plan.method, plan.settings)
        results = [train_step(learner, plan.method, plan.settings, s) for s in range(plan.settings.steps)]
        return [result.rollout.entropy.double().mean().item() for result in results]

    return run


@pytest.mark.long
def test_two_runs_hold_the_same_tokens(short_plan: RunPlan, starts: Path, tmp_path: Path) -> None:
    plan = short_plan
    make_run(plan, starts)
    make_run(replace(plan, folder=tmp_path / "again"), starts)
    assert token_table(open_run(plan.folder)).equals(token_table(open_run(tmp_path / "again")))


def test_finished_is_kept_and_unfinished_is_made_again(short_plan: RunPlan, starts: Path) -> None:
    plan = short_plan

    class StopError(Exception):
        pass

    def stop(event: object) -> None:
        raise StopError

    with pytest.raises(StopError):
        make_run(plan, starts, on_event=stop)
    interrupted = open_run(plan.folder).id
    assert make_run(plan, starts)
    finished = open_run(plan.folder)
    assert finished.id != interrupted
    assert finished.problems() == []
    assert not make_run(plan, starts)
    assert open_run(plan.folder).id == finished.id
    assert make_run(plan, starts, overwrite=True)
    assert open_run(plan.folder).id != finished.id


def test_other_settings_and_foreign_folders_are_refused(short_plan: RunPlan, starts: Path) -> None:
    plan = short_plan
    make_run(plan, starts)
    longer = replace(plan, settings=replace(plan.settings, steps=4))
    with pytest.raises(InvalidInputError, match="steps 1 instead of 4"):
        make_run(longer, starts)
    foreign = plan.folder.with_name("foreign")
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("keep me")
    with pytest.raises(InvalidInputError, match="no run of the lab"):
        make_run(replace(plan, folder=foreign), starts, overwrite=True)
    assert (foreign / "thesis.txt").exists()


@pytest.mark.usefixtures("few_problems")
def test_preset_makes_a_folder_a_method(preset: Preset, starts: Path, tmp_path: Path) -> None:
    chosen = preset.with_methods(["baseline", "entropy_bonus"]).with_settings(steps=1)
    folders = run_preset(chosen, tmp_path / "out", cache=starts, progress=False)
    assert [folder.name for folder in folders] == ["baseline", "entropy_bonus"]
    runs = open_runs(tmp_path / "out")
    assert [run.method for run in runs] == ["baseline", "entropy_bonus"]
    first = [run.evaluations().query("step == 0")["value"].tolist() for run in runs]
    assert first[0] == first[1]
    with pytest.raises(UnknownNameError, match="nonsense"):
        preset.with_methods(["nonsense"])


def test_compacted_sample_run_stays_finished(short_plan: RunPlan, starts: Path) -> None:
    plan = short_plan
    assert make_compact_run(plan, starts).startswith("made in")
    before = token_table(open_run(plan.folder))
    assert make_compact_run(plan, starts) == "already there"
    assert token_table(open_run(plan.folder)).equals(before)
    assert sum(1 for path in plan.folder.rglob("*") if path.is_file()) < 10


def test_sample_plans(tmp_path: Path) -> None:
    names = {str(plan.folder.relative_to(tmp_path)) for plan in sample_plans(tmp_path)}
    start_a = {
        f"start-a/{label}-s{seed}" for label in ("baseline", "clip_cov", "kl_cov") for seed in (0, 1, 2)
    }
    rare_x = {f"rare-x/{label}-s1" for label in ("baseline", "clip_cov", "placebo")}
    assert names == start_a | rare_x | {"influence/baseline-s0", "influence/clip_cov-s0"}


def test_a_start_is_stored_once_and_a_broken_one_is_named(tmp_path: Path) -> None:
    tiny = Start("tiny", stop=2, chains=100)
    done: list[int] = []
    one = load_start(tmp_path, tiny, done.append)
    two = load_start(tmp_path, tiny, done.append)
    assert done == [1, 2]
    assert torch.equal(one.head.weight, two.head.weight)
    assert start_path(tmp_path, tiny) != start_path(tmp_path, replace(tiny, stop=3))
    start_path(tmp_path, tiny).write_bytes(b"nonsense")
    with pytest.raises(RunFormatError, match="start-tiny"):
        load_start(tmp_path, tiny)
