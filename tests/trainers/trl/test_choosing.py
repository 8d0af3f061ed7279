"""The set that a control chooses from, and controls that follow the entropy."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("trl")

import pyarrow as pa
from tiny_trl import make_trainer

import entropylab as el


def train(folder: Path, control: Any, *, select_by: str = "auto", **settings: Any) -> Any:
    trainer = make_trainer(folder, **({"gradient_accumulation_steps": 2} | settings))
    with el.attach(trainer, folder / "run", control=control, select_by=select_by) as handle:
        trainer.train()
    return handle


def rows_of(folder: Path) -> Any:
    return pa.Table.from_batches(list(el.open_run(folder / "run").tokens())).to_pandas()


def is_top(tokens: Any, fraction: float) -> bool:
    """Whether the selected rows are the floor(fraction · N) of the highest covariance among these rows."""
    k = max(1, int(fraction * len(tokens)))
    highest = tokens["covariance"].to_numpy().argsort()[::-1][:k]
    return set(np.flatnonzero(tokens["selected"])) == set(highest)


def test_one_update_is_one_set(tmp_path: Path) -> None:
    train(tmp_path, el.ClipCov.top(0.1))
    tokens = rows_of(tmp_path)
    assert all(is_top(update, 0.1) for _, update in tokens.groupby("step"))
    assert not all(is_top(piece, 0.1) for _, piece in tokens.groupby(["step", "micro_step"]))
    assert el.open_run(tmp_path / "run").info["covariance_set"] == "update"


def test_a_choice_inside_micro_batches_says_so(tmp_path: Path) -> None:
    handle = train(tmp_path, el.ClipCov.top(0.1), select_by="micro_batch")
    tokens = rows_of(tmp_path)
    assert all(is_top(piece, 0.1) for _, piece in tokens.groupby(["step", "micro_step"]))
    assert any("inside each micro-batch" in note for note in handle.notes)
    run = el.open_run(tmp_path / "run")
    assert (run.info["covariance_set"], run.config["select_by"]) == ("micro_step", "micro_batch")


def test_an_update_over_two_generations_chooses_in_each(tmp_path: Path) -> None:
    """The second one does not exist yet when the first is trained on."""
    train(tmp_path, el.ClipCov.top(0.1), gradient_accumulation_steps=4, steps_per_generation=2)
    tokens = rows_of(tmp_path)
    for _, update in tokens.groupby("step"):
        for first in (0, 2):
            assert is_top(update[update["micro_step"].between(first, first + 1)], 0.1)


@pytest.mark.quick("settings1")
@pytest.mark.parametrize("settings", [{}, {"num_iterations": 2}, {"gradient_accumulation_steps": 1}])
def test_no_token_is_chosen_that_does_not_learn(tmp_path: Path, settings: dict[str, Any]) -> None:
    settings = {"top_entropy_quantile": 0.5, "epsilon": float("inf")} | settings
    train(tmp_path, el.ClipCov.top(0.1), **settings)
    tokens = rows_of(tmp_path)
    idle = tokens[tokens["weight"] == 0]
    learning = tokens[(tokens["weight"] > 0) | tokens["selected"]]
    assert len(idle) > 0.3 * len(tokens)
    assert np.isfinite(tokens["covariance"]).all()
    for _, update in learning.groupby("step"):
        assert update["selected"].sum() == max(1, int(0.1 * len(update)))
    logged = el.open_run(tmp_path / "run").steps()["metrics/learning/fraction"]
    assert logged.between(0.3, 0.7).all()


def test_a_control_that_follows_the_entropy_is_its_own_state(tmp_path: Path) -> None:
    start = el.TargetClipCov(fraction=0.1, select="top", target=10.0, gain=1.0, most=0.5)
    handle = train(tmp_path, start, max_steps=3)
    entropies = el.open_run(tmp_path / "run").steps()["entropy_token_mean"]
    expected = start
    for entropy in entropies:
        expected = expected.updated(float(entropy))
    assert handle.control.fraction == pytest.approx(expected.fraction, rel=1e-6)
    assert handle.control != start
    assert dataclasses.replace(handle.control, fraction=0.1) == start
    tokens = rows_of(tmp_path)
    shares = tokens.groupby("step")["selected"].mean().tolist()
    assert shares == sorted(shares)
    assert el.open_run(tmp_path / "run").method == "clip_cov_target"


def test_weights_on_every_token_are_recorded_over_the_update(tmp_path: Path) -> None:
    train(tmp_path, el.SampleWeight(positive=0.1, negative=1.0))
    tokens = rows_of(tmp_path)
    expected = np.where(tokens["advantage"] > 0, 0.1, 1.0)
    assert tokens["weight"].to_numpy() == pytest.approx(expected, abs=1e-6)
    assert el.open_run(tmp_path / "run").info["covariance_set"] == "update"
