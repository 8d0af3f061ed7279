"""The influence of TRL's tokens against what the optimizer's step really did to the entropy."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

import numpy as np
import pandas as pd
import torch
from plain_loss import piece_of
from tiny_trl import make_trainer, weights_of
from watch import Update, watch

import entropylab as el
from entropylab.errors import InvalidInputError
from entropylab.trainers.trl.update_influence import check_influence

SETTINGS = {
    "gradient_accumulation_steps": 2,
    "max_grad_norm": 0.0,
    "max_steps": 2,
    "dtype": torch.float64,
    "optim": "sgd",
    "learning_rate": 1e-3,
    "lr_scheduler_type": "constant",
}


def _train(folder: Path, control: Any = None, **settings: Any) -> tuple[el.Run, list[Update], list[Any]]:
    """A run with influence at every step, its updates, and the weights after the last one."""
    trainer = make_trainer(folder, **(SETTINGS | settings))
    watcher = watch(trainer)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handle = el.attach(trainer, folder / "run", control=control, influence_every=1, influence_share=1.0)
    trainer.train()
    handle.detach()
    last = trainer.accelerator.unwrap_model(trainer.model)
    return el.open_run(folder / "run"), watcher.updates, list(last.parameters())


def _rows(run: el.Run, steps: list[int] | None = None) -> pd.DataFrame:
    return pd.concat(batch.to_pandas() for batch in run.tokens(steps=steps))


def _entropy_slope(update: Update) -> list[torch.Tensor]:
    """∇H of the mean over the update's tokens, by autograd from plain logits."""
    pieces = [piece_of(update.model, inputs) for inputs in update.pieces]
    mask = torch.cat([piece.mask.bool() for piece in pieces])
    entropy = torch.cat([piece.entropy for piece in pieces])[mask].mean()
    return list(torch.autograd.grad(entropy, list(update.model.parameters())))


@pytest.mark.parametrize(
    "settings",
    [
        {"loss_type": "grpo"},
        {"loss_type": "dapo", "num_iterations": 2},
        {"loss_type": "cispo", "num_iterations": 2, "epsilon_high": 5.0},
        {"loss_type": "bnpo", "beta": 0.1},
    ],
    ids=lambda settings: settings["loss_type"],
)
def test_the_sum_is_what_the_step_does(tmp_path: Path, settings: dict[str, Any]) -> None:
    run, updates, last = _train(tmp_path, **settings)
    after = [*([list(u.model.parameters()) for u in updates[1:]]), last]
    for update, weights in zip(updates, after, strict=True):
        moved = [
            new.detach() - old.detach() for new, old in zip(weights, update.model.parameters(), strict=True)
        ]
        expected = sum(
            float((slope * delta).sum()) for slope, delta in zip(_entropy_slope(update), moved, strict=True)
        )
        rows = _rows(run, [update.step])
        assert rows["influence"].notna().all()
        scale = rows["influence"].abs().sum()
        assert abs(rows["influence"].sum() - expected) <= 1e-6 * scale


@pytest.mark.parametrize(
    "control",
    [el.ClipCov.top(0.3), el.KLCov(fraction=0.3, beta=0.5)],
    ids=["clip_cov", "kl_cov"],
)
def test_under_a_control_it_is_that_without_it(tmp_path: Path, control: Any) -> None:
    plain, *_ = _train(tmp_path / "plain", num_iterations=2, max_steps=1)
    run, *_ = _train(tmp_path / "controlled", control, num_iterations=2, max_steps=1)
    rows, expected = _rows(run), _rows(plain)
    assert rows["selected"].any()
    np.testing.assert_array_equal(rows["token_id"], expected["token_id"])
    np.testing.assert_allclose(rows["influence"], expected["influence"], rtol=1e-5, atol=1e-12)


def test_the_training_is_the_same_to_the_bit(tmp_path: Path) -> None:
    weights = []
    for name, every in (("with", 1), ("without", None)):
        trainer = make_trainer(tmp_path / name, max_steps=3, gradient_accumulation_steps=2)
        with el.attach(trainer, tmp_path / name / "run", influence_every=every, influence_share=1.0):
            trainer.train()
        weights.append(weights_of(trainer))
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_it_is_recorded_when_due_and_can_be_audited(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, max_steps=5, gradient_accumulation_steps=2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handle = el.attach(
            trainer, tmp_path / "run", control=el.ClipCov.top(0.2), influence_every=2, influence_share=1.0
        )
    trainer.train()
    handle.detach()
    run = el.open_run(tmp_path / "run")
    held = _rows(run).groupby("step")["influence"].apply(lambda column: column.notna().all())
    assert held.to_dict() == {0: True, 1: False, 2: True, 3: False, 4: True}
    steps = run.steps().set_index("step")
    assert steps.loc[0, "metrics/entropylab/influence/error"] < 1e-3
    assert steps.loc[0, "metrics/entropylab/influence/seconds"] > 0
    assert el.audit_proxies(run).summary()


def test_an_optimizer_that_is_not_known_ends_the_training_by_name(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, optim="rmsprop")
    with (
        el.attach(trainer, tmp_path / "run", influence_every=1),
        pytest.raises(InvalidInputError, match="RMSprop is not known"),
    ):
        trainer.train()


def test_several_processes_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="influence_every with 2 processes"):
        check_influence(make_trainer(tmp_path), 2)
