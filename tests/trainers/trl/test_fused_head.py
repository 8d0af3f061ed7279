"""A training with head="fused" is the one with all logits: gradients, rows and choices."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

import pyarrow as pa
from against_plain import errors, train
from plain_loss import relative_error
from tiny_trl import WORDS, make_trainer
from torch.utils._python_dispatch import TorchDispatchMode
from trl import GRPOConfig
from watch import watch

import entropylab as el
from entropylab.losses.heads import head as head_module

FIELDS = GRPOConfig.__dataclass_fields__
TIED = {"model_settings": {"tie_word_embeddings": True}}

CASES: dict[str, tuple[Any, dict[str, Any]]] = {
    "observing": (None, {}),
    "one_micro_batch": (el.ClipCov.top(0.1), {"gradient_accumulation_steps": 1}),
    "clip_on_policy": (el.ClipCov.top(0.1), {}),
    "clip_band_old": (el.ClipCov(fraction=0.1, low=0.05, high=5.0), {"num_iterations": 2}),
    "kl_old": (el.KLCov(fraction=0.2, beta=0.5), {"num_iterations": 2}),
    "kl_reference": (
        el.KLCov(fraction=0.2, reference="ref", divergence="k3"),
        {"beta": 0.1, "num_iterations": 2},
    ),
    "every_token": (el.EntropyAdvantage(), {"num_iterations": 2}),
    "temperature": (el.ClipCov.top(0.1), {"temperature": 0.7}),
    "tied": (el.ClipCov.top(0.1), TIED),
    "tied_reference": (None, {"beta": 0.1, "num_iterations": 2, **TIED}),
}

ROUNDED = {"every_token": 1e-6}
"""The changed advantages are in fp32, like the trainer's own."""


@pytest.mark.quick("clip_band_old", "kl_old", "tied_reference")
@pytest.mark.parametrize("name", CASES)
def test_gradients_are_those_of_the_plain_logits(tmp_path: Path, name: str) -> None:
    control, settings = CASES[name]
    trainer, updates, control = train(tmp_path, control, head="fused", **settings)
    assert len(updates) == 4
    assert max(errors(trainer, updates, control)) <= ROUNDED.get(name, 1e-12)


def test_gradients_of_the_entropy_bonus(tmp_path: Path) -> None:
    if "entropy_coef" not in FIELDS:
        pytest.skip("TRL has an entropy bonus from 1.8 on")
    control = el.KLCov(fraction=0.2, beta=0.5)
    trainer, updates, control = train(tmp_path, control, head="fused", num_iterations=2, entropy_coef=0.05)
    assert max(errors(trainer, updates, control)) <= 1e-12


IN_FP32 = ("clip_on_policy", "clip_band_old", "kl_reference")


@pytest.mark.quick("kl_reference")
@pytest.mark.filterwarnings("ignore:entropylab")
@pytest.mark.parametrize("name", IN_FP32)
def test_both_heads_train_alike(tmp_path: Path, name: str) -> None:
    """In fp32: the first update to rounding; those after it start from weights that AdamW moved apart."""
    control, settings = CASES[name]
    both = {head: run_of(tmp_path / head, head, control, settings) for head in ("logits", "fused")}
    (losses, updates, rows), (fused_losses, fused_updates, fused_rows) = both.values()
    assert fused_losses == pytest.approx(losses, abs=2e-5)
    deviations = [
        relative_error(found.gradients, [g.double() for g in expected.gradients])
        for found, expected in zip(fused_updates, updates, strict=True)
    ]
    assert deviations[0] <= 1e-5
    assert max(deviations) <= 1e-3
    same = ["step", "sample_id", "position", "token_id", "selected"]
    assert fused_rows[same].equals(rows[same])
    for column, tolerance in {"logprob": 1e-4, "entropy": 1e-4}.items():
        apart = (fused_rows[column] - rows[column]).abs()
        assert apart[rows["step"] == 0].max() <= 5e-6
        assert apart.max() <= tolerance


def run_of(folder: Path, head: str, control: Any, settings: dict[str, Any]) -> tuple[Any, Any, Any]:
    """Losses, updates and rows of a training in fp32."""
    folder.mkdir()
    given = {"gradient_accumulation_steps": 2, "max_grad_norm": 0.0, "learning_rate": 1e-3} | settings
    trainer = make_trainer(folder, max_steps=4, **given)
    watcher = watch(trainer, **given.get("model_settings", {}))
    with el.attach(trainer, folder / "run", control=control, head=head):
        trainer.train()
    run = el.open_run(folder / "run")
    assert (run.config["head"], run.problems()) == (head, [])
    rows = pa.Table.from_batches(list(run.tokens())).to_pandas()
    losses = [log["loss"] for log in trainer.state.log_history if "loss" in log]
    order = ["step", "micro_step", "sample_id", "position"]
    return losses, watcher.updates, rows.sort_values(order, ignore_index=True)


class Widths(TorchDispatchMode):
    """The most rows of a tensor whose last dimension is the vocabulary."""

    most = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run the operator and look at what it made."""
        out = func(*args, **(kwargs or {}))
        for tensor in tensors_in(out):
            if tensor.dim() and tensor.shape[-1] == len(WORDS) and tensor.shape[:-1] != (HIDDEN,):
                self.most = max(self.most, tensor.numel() // len(WORDS))
        return out


HIDDEN = 24
"""Rows of the transposed weight."""


def tensors_in(found: Any) -> Iterator[torch.Tensor]:
    """The tensors of an operator's result."""
    if isinstance(found, torch.Tensor):
        yield found
    elif isinstance(found, (list, tuple)):
        for one in found:
            yield from tensors_in(one)


@pytest.mark.quick("fused")
@pytest.mark.filterwarnings("ignore:entropylab")
@pytest.mark.parametrize("head", ["logits", "fused"])
def test_no_logits_of_all_tokens_are_made(tmp_path: Path, head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """4 rows at once: those of generation, and of a chunk. No other size of the model is the vocabulary's."""
    monkeypatch.setattr(head_module, "LEAST_ROWS", 4)
    monkeypatch.setattr(head_module, "MOST_ROWS", 4)
    sizes = {"hidden_size": HIDDEN, "intermediate_size": 40}
    trainer = make_trainer(tmp_path, num_iterations=2, beta=0.1, max_steps=4, model_settings=sizes)
    with el.attach(trainer, tmp_path / "run", control=el.ClipCov.top(0.1), head=head), Widths() as widths:
        trainer.train()
    assert (widths.most <= 4) == (head == "fused"), widths.most


def test_a_micro_batch_without_a_token_that_counts(tmp_path: Path) -> None:
    trainer = make_trainer(
        tmp_path, max_completion_length=2, mask_truncated_completions=True, max_grad_norm=0.0
    )
    watcher = watch(trainer)
    with el.attach(trainer, tmp_path / "run", head="fused"):
        trainer.train()
    for update in watcher.updates:
        assert all(torch.isfinite(gradient).all() for gradient in update.gradients)


def test_an_evaluation_goes_through_hidden_states_too(tmp_path: Path) -> None:
    entropies = []
    for head in ("logits", "fused"):
        folder = tmp_path / head
        folder.mkdir()
        trainer = make_trainer(folder, evaluate=True, eval_strategy="steps", eval_steps=1, max_steps=1)
        with el.attach(trainer, folder / "run", head=head):
            trainer.train()
        found = el.open_run(folder / "run").evaluations()
        entropies.append(found[found["metric"] == "entropy"]["value"].tolist())
    assert entropies[1] == pytest.approx(entropies[0], abs=1e-4)


def test_autocast_keeps_wide_logits(tmp_path: Path) -> None:
    rows = []
    for head in ("logits", "fused"):
        folder = tmp_path / head
        folder.mkdir()
        trainer = make_trainer(folder, bf16=True, max_steps=1)
        with el.attach(trainer, folder / "run", head=head):
            trainer.train()
        table = pa.Table.from_batches(list(el.open_run(folder / "run").tokens())).to_pandas()
        rows.append(table.sort_values(["sample_id", "position"], ignore_index=True))
    assert (rows[0]["token_id"] == rows[1]["token_id"]).all()
    assert (rows[0]["logprob"] - rows[1]["logprob"]).abs().max() <= 5e-2
    assert (rows[1]["logprob"] < 0).all()


@pytest.mark.filterwarnings("ignore:entropylab")
def test_adapters_of_the_layers_stay_in_force(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    entropies = []
    for head in ("logits", "fused"):
        (tmp_path / head).mkdir()
        adapters = peft.LoraConfig(target_modules=["q_proj", "v_proj"])
        trainer = make_trainer(tmp_path / head, peft_config=adapters, beta=0.1, num_iterations=2)
        with el.attach(trainer, tmp_path / head / "run", control=el.ClipCov.top(0.1), head=head):
            trainer.train()
        entropies.append(el.open_run(tmp_path / head / "run").steps()["entropy_token_mean"].tolist())
    assert entropies[1] == pytest.approx(entropies[0], abs=1e-5)


def test_detaching_gives_the_head_back(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path)
    el.attach(trainer, tmp_path / "run", head="fused").detach()
    assert "forward" not in vars(trainer.model.lm_head)
    trainer.train()
