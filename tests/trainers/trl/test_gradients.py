"""The gradient of every update equals that of an independent reference from plain logits.

The model is fp64, so that the rounding of its layers hides nothing; from 1.15 on TRL's head computes in fp32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from against_plain import errors, train
from tiny_trl import count_reward, length_reward
from trl import GRPOConfig

import entropylab as el

TOLERANCE = 1e-6
LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo")
CONTROLS = {
    "clip_top": el.ClipCov.top(0.1),
    "clip_band": el.ClipCov(fraction=0.1, low=0.05, high=5.0),
    "kl": el.KLCov(fraction=0.2, beta=0.5),
}


BOTH = [("kl", loss_type) for loss_type in LOSS_TYPES]
BOTH += [("clip_top", "grpo"), ("clip_top", "dr_grpo"), ("clip_band", "bnpo"), ("clip_band", "dapo")]
"""A penalty adds to what the loss type divides; dropping tokens is one code for both forms of Clip-Cov."""


@pytest.mark.quick("kl-dr_grpo", "clip_band-dapo")
@pytest.mark.parametrize(("name", "loss_type"), BOTH)
def test_both_losses_under_every_loss_type(tmp_path: Path, name: str, loss_type: str) -> None:
    trainer, updates, control = train(tmp_path, CONTROLS[name], loss_type=loss_type, num_iterations=2)
    assert len(updates) == 4
    assert max(errors(trainer, updates, control)) <= TOLERANCE


@pytest.mark.long
@pytest.mark.parametrize("loss_type", LOSS_TYPES)
def test_observing_under_every_loss_type(tmp_path: Path, loss_type: str) -> None:
    trainer, updates, control = train(tmp_path, None, loss_type=loss_type, num_iterations=2)
    assert max(errors(trainer, updates, control)) <= TOLERANCE


@pytest.mark.quick("forward")
@pytest.mark.parametrize("select_by", ["auto", "forward"])
def test_on_policy_and_by_current_logprobs(tmp_path: Path, select_by: str) -> None:
    settings = {} if select_by == "auto" else {"num_iterations": 2}
    trainer, updates, control = train(tmp_path, CONTROLS["clip_top"], select_by=select_by, **settings)
    assert control.covariance_on == "current"
    assert max(errors(trainer, updates, control)) <= TOLERANCE


@pytest.mark.quick("abs_logratio-0.02")
@pytest.mark.parametrize(
    ("divergence", "epsilon"),
    [
        ("abs_logratio", 0.02),
        ("abs_logratio", float("inf")),
        ("k1", 0.2),
        ("k2", float("inf")),
        ("k3", 0.02),
        ("k3", 0.2),
    ],
)
def test_a_penalty_beside_any_ratio_clip(tmp_path: Path, divergence: str, epsilon: float) -> None:
    control = el.KLCov(fraction=0.3, beta=0.5, divergence=divergence)
    trainer, updates, control = train(
        tmp_path, control, epsilon=epsilon, num_iterations=3, learning_rate=3e-2
    )
    assert max(errors(trainer, updates, control)) <= TOLERANCE


@pytest.mark.quick("kl")
@pytest.mark.parametrize(
    "control",
    [CONTROLS["clip_top"], el.KLCov(fraction=0.2, reference="ref", divergence="k3")],
    ids=["clip_top", "kl"],
)
def test_a_reference_model_and_two_rewards(tmp_path: Path, control: Any) -> None:
    trainer, updates, used = train(
        tmp_path, control, beta=0.1, num_iterations=2, rewards=[count_reward, length_reward]
    )
    assert max(errors(trainer, updates, used)) <= TOLERANCE


def test_a_weight_on_every_token(tmp_path: Path) -> None:
    trainer, updates, control = train(tmp_path, el.EntropyAdvantage(), num_iterations=2)
    assert max(errors(trainer, updates, control)) <= TOLERANCE


@pytest.mark.quick("clip_top-True")
@pytest.mark.parametrize(
    ("name", "adaptive"), [(None, False), (None, True), ("clip_top", True), ("kl", False), ("kl", True)]
)
def test_beside_the_trainers_own_entropy_bonus(tmp_path: Path, adaptive: bool, name: str | None) -> None:
    if "entropy_coef" not in GRPOConfig.__dataclass_fields__:
        pytest.skip("TRL has an entropy bonus from 1.8 on")
    bonus: dict[str, Any] = {"entropy_coef": 0.05}
    if adaptive:
        bonus |= {"use_adaptive_entropy": True, "entropy_target": 1.7, "entropy_coef_delta": 0.02}
    control = CONTROLS[name] if name else None
    trainer, updates, control = train(tmp_path, control, num_iterations=2, **bonus)
    assert max(errors(trainer, updates, control)) <= TOLERANCE
    run = el.open_run(tmp_path / "run")
    applied = run.steps()["metrics/entropy_coef/applied"].tolist()
    assert applied == pytest.approx([update.bonus for update in updates], abs=0)
    assert run.config["intervened"]
    assert (len(set(applied)) > 1) == adaptive
