"""Looks at a training from outside: weights before each update, its micro-batches, its gradients."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from tiny_trl import make_model
from transformers import TrainerCallback


@dataclass
class Update:
    """One update as it was just before the optimizer's step."""

    step: int
    model: torch.nn.Module
    gradients: list[torch.Tensor]
    pieces: list[dict[str, Any]]
    bonus: float = 0.0


@dataclass
class Watch(TrainerCallback):
    """Keeps every update of a trainer whose gradients are not clipped (max_grad_norm=0)."""

    trainer: Any
    model_settings: dict[str, Any] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    bonus: float = 0.0

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Note the entropy coefficient that the coming update applies."""
        trainer = self.trainer
        if getattr(trainer, "_entropy_bonus_enabled", False):
            off = trainer.use_adaptive_entropy and trainer._last_world_entropy > args.entropy_target
            self.bonus = 0.0 if off else trainer.entropy_coef

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Copy everything."""
        model = self.trainer.accelerator.unwrap_model(self.trainer.model)
        kept = [None if p.grad is None else p.grad.detach().clone() for p in model.parameters()]
        kept = [
            torch.zeros_like(p) if g is None else g for g, p in zip(kept, model.parameters(), strict=True)
        ]
        bare = make_model(**self.model_settings).to(model.dtype)
        bare.load_state_dict(model.state_dict())
        start = (state.global_step * args.gradient_accumulation_steps) % args.steps_per_generation
        pieces = self.trainer._buffered_inputs[start : start + args.gradient_accumulation_steps]
        self.updates.append(Update(state.global_step, bare, kept, [dict(p) for p in pieces], self.bonus))


def watch(trainer: Any, **model_settings: Any) -> Watch:
    """Watch a trainer of a `make_model` with these settings."""
    watcher = Watch(trainer, model_settings)
    trainer.add_callback(watcher)
    return watcher
