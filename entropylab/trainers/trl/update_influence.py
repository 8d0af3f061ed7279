"""The influence of an update's tokens on the entropy, between its last backward pass and its step."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from ...errors import InvalidInputError
from ...influence.token_effects import Influence, token_influence

if TYPE_CHECKING:
    from torch import Tensor

    from ...losses.policy_loss import PolicyLoss
    from .micro_batch import MicroBatch

_SEQUENCE = ("prompt_ids", "prompt_mask", "completion_ids", "completion_mask")
_IMAGES = ("pixel_values", "image_grid_thw", "image_sizes", "pixel_attention_mask")


@dataclass
class _Piece:
    """One micro-batch: what the model reads, and the derivative of the trainer's loss."""

    sequences: Mapping[str, Tensor]
    mask: Tensor
    scale: Tensor
    """[B, T]: what the derivative is multiplied with; A where it is by the advantages, else 1."""
    slopes: list[Tensor] = field(default_factory=list)
    """The derivative [B, T] by the logprobs or by the advantages, once the backward pass has been."""

    @property
    def lengths(self) -> tuple[int, int]:
        """Tokens of the padded sequences, and of the completions."""
        return self.sequences["input_ids"].shape[1], self.mask.shape[1]


@dataclass(frozen=True)
class _Counted:
    """The tokens of the first micro-batch, with the time and metrics of the update's influence."""

    tokens: Tensor
    seconds: float
    metrics: dict[str, float]


class UpdateInfluence:
    """Collects the micro-batches of one update; the trainer's own loss says how much each token counts.

    Without a control that is -∂L/∂logπ. Under a control it is -A ∂L/∂A', 0 where the ratio clip acts: what
    the token would count without the control.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._pieces: list[_Piece] = []

    def drop(self) -> None:
        """Forget an update that did not end."""
        self._pieces.clear()

    def watch(self, inputs: Mapping[str, Any], batch: MicroBatch) -> None:
        """Of a micro-batch without control: its logprobs have a gradient, and are still to be trained on."""
        piece = _piece(inputs, batch, torch.ones_like(batch.entropy))
        batch.logprobs.register_hook(piece.slopes.append)
        self._pieces.append(piece)

    def watch_controlled(
        self, inputs: Mapping[str, Any], batch: MicroBatch, out: PolicyLoss, advantages: Tensor
    ) -> Tensor:
        """The changed advantages [B, T] for the trainer's loss, whose derivative by them is watched."""
        own = batch.advantages if batch.advantages.dim() == 2 else batch.advantages.unsqueeze(1)
        counted = torch.where(out.tokens["clipped"] | ~batch.learning, 0.0, own.expand_as(batch.entropy))
        piece = _piece(inputs, batch, counted)
        watched = advantages.expand_as(batch.entropy) + torch.zeros_like(batch.entropy, requires_grad=True)
        watched.register_hook(piece.slopes.append)
        self._pieces.append(piece)
        return watched

    def take(self) -> list[Any]:
        """For each micro-batch of the update, before the optimizer's step, what `Recorder.record` takes.

        None for all where the micro-batches do not make one batch.

        Raises `InvalidInputError` for a model or an optimizer that `token_influence` cannot look at.
        """
        pieces, self._pieces = self._pieces, []
        if len({piece.lengths for piece in pieces}) > 1:
            warnings.warn(
                "entropylab: the micro-batches of an update are padded to different lengths, so no influence "
                "of its tokens is recorded; set steps_per_generation to a multiple of "
                "gradient_accumulation_steps",
                UserWarning,
                stacklevel=2,
            )
            return [None] * len(pieces)
        return _by_micro_batch(self._whole(pieces), [len(piece.mask) for piece in pieces])

    def _whole(self, pieces: list[_Piece]) -> Influence:
        trainer = self._trainer
        mask = torch.cat([piece.mask for piece in pieces])
        sequences = {
            name: torch.cat([piece.sequences[name] for piece in pieces]) for name in pieces[0].sequences
        }
        counts = torch.cat([-piece.scale * _total(piece) for piece in pieces])
        return token_influence(
            trainer.accelerator.unwrap_model(trainer.model),
            sequences,
            torch.where(mask, counts * mask.sum(), 0.0),
            mask,
            geometry=getattr(trainer.optimizer, "optimizer", trainer.optimizer),
            max_grad_norm=trainer.args.max_grad_norm or None,
            temperature=float(trainer.temperature),
            micro_batch=len(pieces[0].mask),
        )


def check_influence(trainer: Any, world_size: int) -> None:
    """Raises `InvalidInputError` where the gradient of an update is not on one process."""
    if world_size > 1:
        raise InvalidInputError(
            f"attach: influence_every with {world_size} processes is not supported, as the gradient of an "
            "update is spread over them; leave it out, or give one process"
        )
    if getattr(trainer, "aux_loss_enabled", False):
        raise InvalidInputError(
            "attach: influence_every beside a router's auxiliary loss is not supported; leave it out"
        )


def _piece(inputs: Mapping[str, Any], batch: MicroBatch, scale: Tensor) -> _Piece:
    images = [name for name in _IMAGES if inputs.get(name) is not None]
    if images:
        raise InvalidInputError(
            f"attach: influence_every does not know inputs with {images[0]}; leave influence_every out"
        )
    prompt, prompt_mask, completion, completion_mask = (inputs[name] for name in _SEQUENCE)
    sequences = {
        "input_ids": torch.cat([prompt, completion], dim=1),
        "attention_mask": torch.cat([prompt_mask, completion_mask], dim=1),
    }
    return _Piece(sequences, batch.mask, scale.detach())


def _total(piece: _Piece) -> Tensor:
    """The derivative of the loss; 0 where the loss did not depend on these tokens."""
    return torch.stack(piece.slopes).sum(0).detach() if piece.slopes else torch.zeros_like(piece.scale)


def _by_micro_batch(whole: Influence, rows: list[int]) -> list[Any]:
    """What `Recorder.record` takes for each micro-batch; the update's time and metrics go with the first."""
    first, *others = whole.tokens.split(rows)
    return [_Counted(first, whole.seconds, whole.metrics), *others]
