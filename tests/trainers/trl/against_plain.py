"""Real trainings whose updates are held against the independent reference."""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from plain_loss import Settings, chosen_tokens, gradients, piece_loss, piece_of, relative_error
from tiny_trl import make_trainer
from watch import Update, watch

import entropylab as el

BY_TOKENS = tuple(int(part) for part in version("trl").split(".")[:2]) < (1, 10)
"""Up to 1.9 the bonus under dapo is the sum over the tokens, divided as the policy loss is."""


def train(
    folder: Path, control: Any, *, select_by: str = "auto", head: str = "logits", **settings: Any
) -> tuple[Any, list[Update], Any]:
    """An attached training in fp64 without clipped gradients: trainer, updates and the control at its end."""
    defaults = {
        "gradient_accumulation_steps": 2,
        "max_grad_norm": 0.0,
        "max_steps": 4,
        "dtype": torch.float64,
    }
    trainer = make_trainer(folder, **(defaults | settings))
    watcher = watch(trainer, **settings.get("model_settings", {}))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        handle = el.attach(trainer, folder / "run", control=control, select_by=select_by, head=head)
    trainer.train()
    handle.detach()
    return trainer, watcher.updates, handle.control


def settings_of(trainer: Any, update: Update) -> Settings:
    """What of a trainer's settings entered the loss of an update."""
    args = trainer.args
    return Settings(
        loss_type=args.loss_type,
        low=trainer.epsilon_low,
        high=trainer.epsilon_high,
        beta=trainer.beta,
        accumulation=args.gradient_accumulation_steps,
        max_length=args.max_completion_length,
        bias_correction=bool(getattr(args, "use_bias_correction_kl", False)),
        bonus=update.bonus,
        bonus_by_tokens=BY_TOKENS,
    )


def errors(trainer: Any, updates: list[Update], control: Any) -> list[float]:
    """The relative deviation of each update's gradient from the reference."""
    found = []
    for update in updates:
        settings = settings_of(trainer, update)

        def loss_of(model: Any, update: Update = update, settings: Settings = settings) -> Any:
            pieces = [piece_of(model, inputs, trainer.temperature) for inputs in update.pieces]
            masks = [None] * len(pieces)
            if isinstance(control, el.ClipCov | el.KLCov):
                masks = chosen_tokens(
                    control,
                    pieces,
                    on_old=control.covariance_on == "old",
                    clip=(settings.low, settings.high),
                    seed=trainer.args.seed,
                    step=update.step,
                )
                assert sum(int(mask.sum()) for mask in masks) >= 1
            return sum(piece_loss(p, settings, control, m) for p, m in zip(pieces, masks, strict=True))

        found.append(relative_error(update.gradients, gradients(update.model, loss_of)))
    return found
