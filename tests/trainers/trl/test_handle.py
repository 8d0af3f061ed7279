"""Attaching, detaching, training again; and what is refused or said at attach."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

import trl
from tiny_trl import make_trainer, weights_of

import entropylab as el
from entropylab.errors import EntropylabError, InvalidInputError
from entropylab.losses import advice
from entropylab.record import alerts

HERE = Path(__file__).parent
FIELDS = trl.GRPOConfig.__dataclass_fields__


def attach(trainer: Any, folder: Path, **options: Any) -> Any:
    return el.attach(trainer, folder / "run", **options)


def test_detaching_restores_class_and_behaviour(tmp_path: Path) -> None:
    weights = []
    for name in ("never", "detached"):
        (tmp_path / name).mkdir()
        trainer = make_trainer(tmp_path / name, gradient_accumulation_steps=2)
        if name == "detached":
            handle = attach(trainer, tmp_path / name, control=el.ClipCov.top(0.5))
            assert type(trainer) is not trl.GRPOTrainer
            assert type(trainer).__name__ == "GRPOTrainer"
            assert isinstance(trainer, trl.GRPOTrainer)
            handle.detach()
            handle.detach()
        assert type(trainer) is trl.GRPOTrainer
        assert not hasattr(trainer, "_entropylab")
        trainer.train()
        weights.append(weights_of(trainer))
    assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True))


def test_an_error_in_the_block_leaves_a_run_that_says_so(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)

    def broken() -> None:
        with attach(trainer, tmp_path):
            trainer.train()
            raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        broken()
    assert type(trainer) is trl.GRPOTrainer
    run = el.open_run(tmp_path / "run")
    assert len(run.steps()) == 2
    assert [problem.kind for problem in run.problems()] == ["interrupted"]


def test_training_again_is_a_new_attempt(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    with attach(trainer, tmp_path) as handle:
        trainer.train()
        first = handle.recorder
        trainer.train()
        assert (first.attempt, handle.recorder.attempt) == (1, 2)
    run = el.open_run(tmp_path / "run")
    assert run.steps()["step"].tolist() == [0, 1]
    assert [problem.kind for problem in run.problems()] == ["superseded"]


@pytest.mark.long
def test_a_process_that_ends_after_training_leaves_a_whole_run(tmp_path: Path) -> None:
    code = (
        f"import sys; sys.path.insert(0, {str(HERE)!r})\n"
        "from tiny_trl import make_trainer\nimport entropylab as el\n"
        f"trainer = make_trainer({str(tmp_path)!r})\nel.attach(trainer, {str(tmp_path / 'run')!r})\n"
        "trainer.train()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, timeout=300)
    run = el.open_run(tmp_path / "run")
    assert len(run.steps()) == 2
    assert run.problems() == []


def test_twice_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    with attach(trainer, tmp_path), pytest.raises(InvalidInputError, match="attached already"):
        attach(trainer, tmp_path)


REFUSED: dict[str, dict[str, Any]] = {
    "loss_type": {"loss_type": "cispo", "epsilon_high": 5.0},
    "importance_sampling_level": {"importance_sampling_level": "sequence"},
    "delta": {"delta": 2.0},
    "off_policy_mask_threshold": {"off_policy_mask_threshold": 0.5},
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_control_is_refused_under_settings_that_change_its_meaning(tmp_path: Path, name: str) -> None:
    if not set(REFUSED[name]) <= set(FIELDS):
        pytest.skip(f"this version of TRL has no {name}")
    trainer = make_trainer(tmp_path, **REFUSED[name])
    with pytest.raises(InvalidInputError, match=rf"{name}=.*set {name}.*observe only"):
        attach(trainer, tmp_path, control=el.ClipCov.paper())
    assert type(trainer) is trl.GRPOTrainer
    attach(trainer, tmp_path).detach()


CONTROLS: dict[str, tuple[Any, str]] = {
    "bonus": (el.EntropyBonus(coef=0.1), "entropy_coef"),
    "adaptive": (el.AdaptiveEntropyBonus(), "use_adaptive_entropy"),
    "penalty": (el.KLPenalty(coef=0.1), "beta"),
    "forking": (el.ForkingTokens(), "top_entropy_quantile"),
    "steer": (el.STEER(), "whole batch"),
    "entropic": (el.EntroPIC(), "ratio clip"),
    "lp_reg": (el.LpReg(), "filtered policy"),
    "full": (el.KLCov.targeted(fraction=0.1), "logits"),
    "mean": (el.KLCov(weight="selected_mean"), "token_mean"),
    "ref": (el.KLCov(reference="ref"), "beta > 0"),
    "two": ([el.ClipCov.paper(), el.KLCov.paper()], "only one control"),
    "none": ("ClipCov", "cannot be written"),
    "a method": (el.METHODS["clip_cov"], r"METHODS\[\.\.\.\]\.control"),
    "a class": (el.ClipCov, r"give its settings, such as ClipCov\(\)"),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_that_are_no_changed_advantage_name_the_way_out(tmp_path: Path, name: str) -> None:
    control, way_out = CONTROLS[name]
    with pytest.raises(InvalidInputError, match=way_out):
        attach(make_trainer(tmp_path), tmp_path, control=control)
    assert not (tmp_path / "run").exists()


def test_another_trainer_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"no adapter for builtins\.object"):
        el.attach(object(), "nowhere")


def test_choosing_by_old_logprobs_needs_them(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    with pytest.raises(InvalidInputError, match="select_by='old' needs old logprobs"):
        attach(trainer, tmp_path, control=el.ClipCov.paper(), select_by="old")
    with pytest.raises(InvalidInputError, match="choose one of auto"):
        attach(trainer, tmp_path, control=el.ClipCov.paper(), select_by="best")


def test_kl_cov_on_policy_is_said_to_do_nothing(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    with pytest.warns(UserWarning, match="on-policy.*does nothing"):
        attach(trainer, tmp_path, control=el.KLCov.paper()).detach()


@pytest.mark.parametrize(("dtype", "zone"), [(torch.float32, 1e-5), (torch.bfloat16, 0.0625)])
def test_the_dead_zone_follows_the_dtype(tmp_path: Path, dtype: torch.dtype, zone: float) -> None:
    trainer = make_trainer(tmp_path, num_iterations=2)
    trainer.model.to(dtype)
    with attach(trainer, tmp_path, control=el.KLCov.paper()) as handle:
        assert handle.control == dataclasses.replace(el.KLCov.paper(), covariance_on="old", dead_zone=zone)
        assert any(f"dead_zone={zone:g}" in note for note in handle.notes)
    (tmp_path / "own").mkdir()
    with attach(trainer, tmp_path / "own", control=el.KLCov(dead_zone=0.5)) as handle:
        assert handle.control.dead_zone == 0.5


def test_recomputed_log_ratios_are_within_the_dead_zone(tmp_path: Path) -> None:
    """Off-policy, the first update after a rollout: what differs there is rounding."""
    trainer = make_trainer(tmp_path, num_iterations=2, max_steps=2, per_device_train_batch_size=8)
    with attach(trainer, tmp_path, control=el.KLCov(fraction=0.5)) as handle:
        trainer.train()
    tokens = next(iter(el.open_run(tmp_path / "run").tokens(steps=[0]))).to_pandas()
    assert (tokens["logprob"] - tokens["old_logprob"]).abs().max() < handle.control.dead_zone


def test_a_bonus_beside_a_control_is_said(tmp_path: Path) -> None:
    if "entropy_coef" not in FIELDS:
        pytest.skip("TRL has an entropy bonus from 1.8 on")
    trainer = make_trainer(tmp_path, entropy_coef=0.1)
    with pytest.warns(UserWarning, match="both act on the entropy"):
        attach(trainer, tmp_path, control=el.ClipCov.paper()).detach()
    assert el.open_run(tmp_path / "run").config["intervened"]


@pytest.mark.parametrize("select_by", ["forward", "micro_batch"])
def test_a_fraction_of_less_than_a_token_is_said_once(tmp_path: Path, select_by: str) -> None:
    advice.forget_advice()
    trainer = make_trainer(tmp_path, max_steps=2, gradient_accumulation_steps=2)
    expected = pytest.warns(UserWarning, match="1 are chosen: effectively .* larger token set")
    with attach(trainer, tmp_path, control=el.ClipCov.top(2e-4), select_by=select_by), expected as told:
        trainer.train()
    assert sum("larger token set" in str(one.message) for one in told) == 1


class OwnForward(trl.GRPOTrainer):
    """A subclass whose loss is none that the adapter knows."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """A loss without TRL's forward pass."""
        return model(input_ids=inputs["completion_ids"]).logits.mean()


def test_a_subclass_with_its_own_forward_pass_is_named(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.__class__ = OwnForward
    with attach(trainer, tmp_path), pytest.raises(EntropylabError, match="_get_per_token_logps"):
        trainer.train()


class OwnAdvantages(trl.GRPOTrainer):
    """A subclass that copies its inputs before the loss reads them."""

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The loss of a copy."""
        return super().compute_loss(model, {**inputs}, *args, **kwargs)


def test_a_control_that_has_no_effect_is_an_error(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    trainer.__class__ = OwnAdvantages
    handle = attach(trainer, tmp_path, control=el.ClipCov.top(0.1))
    with pytest.raises(EntropylabError, match="the control had no effect"):
        trainer.train()
    handle.detach()


def test_a_training_that_is_resumed_goes_on_in_its_run(tmp_path: Path) -> None:
    settings = {"max_steps": 4, "save_strategy": "steps", "save_steps": 2, "gradient_accumulation_steps": 2}
    trainer = make_trainer(tmp_path, **settings)
    with attach(trainer, tmp_path, control=el.ClipCov.top(0.1)):
        trainer.train()
    again = make_trainer(tmp_path, **settings)
    with attach(again, tmp_path, control=el.ClipCov.top(0.1)) as handle:
        again.train(resume_from_checkpoint=str(tmp_path / "output" / "checkpoint-2"))
        assert handle.recorder.attempt == 2
    run = el.open_run(tmp_path / "run")
    assert run.steps()["step"].tolist() == [0, 1, 2, 3]
    assert {problem.kind for problem in run.problems()} == {"superseded"}
    assert (run.steps()["selected_count"] >= 1).all()


def test_alerts_reach_the_training_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alerts, "ZERO_ADVANTAGES", -1.0)
    told: list[el.Alert] = []
    trainer = make_trainer(tmp_path)
    with attach(trainer, tmp_path, on_alert=told.append):
        trainer.train()
    assert "zero_advantages" in [alert.kind for alert in told]
