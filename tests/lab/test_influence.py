"""The influence that the lab records: it predicts real steps, and recording it changes none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch

import entropylab as el
from entropylab.errors import InvalidInputError
from entropylab.lab.experiment import RunPlan, make_run
from entropylab.lab.learner import make_learner
from entropylab.lab.rollout import logprobs_and_entropy
from entropylab.lab.settings import DEMO, LabSettings, Start
from entropylab.lab.training import train_step
from entropylab.lab.warmup import load_start

BASELINE, CLIP_COV = DEMO.methods[:2]


def settings_of(start: Start, **change: object) -> LabSettings:
    return LabSettings(start, **{"steps": 4, "evaluate_every": 10, "influence_every": 1} | change)


@torch.no_grad()
def entropy_of(model, rollout, rows) -> float:
    logits = model.response_logits(rollout.tokens[rows])
    _, entropy = logprobs_and_entropy(logits, rollout.responses[rows])
    return float(entropy[rollout.mask[rows]].double().mean())


@pytest.mark.quick("3e-05")
@pytest.mark.parametrize("rate", [3e-4, 3e-5])
def test_the_prediction_is_what_a_real_step_does(starts: Path, weak_start: Start, monkeypatch, rate) -> None:
    """Predicted against observed change of H at the same states, over real updates of Adam."""
    from entropylab.lab import training

    settings = settings_of(weak_start, steps=5, learning_rate=rate)
    model = load_start(starts, weak_start)
    learner = make_learner(model, BASELINE, settings)
    observed: list[float] = []
    predicted: list[float] = []
    influence_of = training._influence

    def noting(learner, rollout, rows, out, settings):
        found = influence_of(learner, rollout, rows, out, settings)
        predicted.append(found.predicted)
        observed.append(-entropy_of(learner.model, rollout, rows))
        waiting.append((rollout, rows))
        return found

    waiting: list = []
    descend = training._descend

    def then_look(*args):
        norm = descend(*args)
        observed[-1] += entropy_of(model, *waiting.pop())
        return norm

    monkeypatch.setattr(training, "_influence", noting)
    monkeypatch.setattr(training, "_descend", then_look)
    for step in range(settings.steps):
        train_step(learner, BASELINE, settings, step)
    assert len(predicted) == 20
    assert np.corrcoef(predicted, observed)[0, 1] > (0.98 if rate == 3e-4 else 0.999)
    assert np.polyfit(predicted, observed, 1)[0] == pytest.approx(1, abs=0.15 if rate == 3e-4 else 0.02)


def test_recording_it_changes_no_bit_of_the_training(starts: Path, weak_start: Start) -> None:
    models = []
    for every in (None, 1):
        settings = settings_of(weak_start, influence_every=every)
        model = load_start(starts, weak_start)
        learner = make_learner(model, CLIP_COV, settings)
        for step in range(2):
            train_step(learner, CLIP_COV, settings, step)
        models.append(model)
    assert all(a.equal(b) for a, b in zip(models[0].parameters(), models[1].parameters(), strict=True))


def test_a_run_holds_it_at_its_steps_and_can_be_audited(
    starts: Path, weak_start: Start, few_problems: None, tmp_path: Path
) -> None:
    settings = settings_of(weak_start, steps=3, influence_every=2)
    make_run(RunPlan(tmp_path / "r", CLIP_COV, settings), starts)
    run = el.open_run(tmp_path / "r")
    frame = pa.Table.from_batches(list(run.tokens(columns=["step", "influence"]))).to_pandas()
    held = frame.groupby("step")["influence"].agg(lambda x: x.notna().mean())
    assert held.to_dict() == {0: 1.0, 1: 0.0, 2: 1.0}
    steps = run.steps().set_index("step")
    assert steps["metrics/entropylab/influence/error"].dropna().max() < 1e-4
    assert steps["metrics/entropylab/influence/cost"].notna().tolist() == [True, False, True]
    found = el.audit_proxies(run)
    assert found.steps == (0, 2)
    assert found.n_sets == 8
    assert found.proxies.set_index("proxy").loc["covariance", "spearman"] > 0


def test_wrong_settings_are_named(weak_start: Start) -> None:
    with pytest.raises(InvalidInputError, match="influence_every is 0"):
        replace(settings_of(weak_start), influence_every=0)
