"""The seam: a mixin that stands before the trainer's class. No signature of the trainer is restated."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .attachment import TRLAttachment


class Seam:
    """Hands over what passes through the trainer's methods; without a control it changes nothing."""

    _entropylab: TRLAttachment

    def train(self, *args: Any, **kwargs: Any) -> Any:
        """Train; at the end everything recorded is durable."""
        result = super().train(*args, **kwargs)  # type: ignore[misc]
        self._entropylab.after_training()
        return result

    def training_step(self, *args: Any, **kwargs: Any) -> Any:
        """Train on a micro-batch."""
        loss = super().training_step(*args, **kwargs)  # type: ignore[misc]
        self._entropylab.after_micro_step()
        return loss

    def evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """Evaluate; what is generated meanwhile is kept apart from training."""
        prefix = args[2] if len(args) > 2 else kwargs.get("metric_key_prefix", "eval")
        with self._entropylab.evaluating(prefix):
            return super().evaluate(*args, **kwargs)  # type: ignore[misc]

    def log(self, logs: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        """Log, with the metrics of entropylab beside the trainer's own."""
        logs.update(self._entropylab.take_metrics())
        return super().log(logs, *args, **kwargs)  # type: ignore[misc]

    def compute_loss(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """The trainer's loss, of advantages that a control may have changed."""

        def loss_of(given: Any) -> Any:
            return super(Seam, self).compute_loss(model, given, *args, **kwargs)  # type: ignore[misc]

        return self._entropylab.loss(loss_of, inputs)

    def _calculate_rewards(self, *args: Any, **kwargs: Any) -> Any:
        rewards = super()._calculate_rewards(*args, **kwargs)  # type: ignore[misc]
        self._entropylab.rollouts.note_rewards(rewards)
        return rewards

    def _generate_and_score_completions(self, *args: Any, **kwargs: Any) -> Any:
        batch = super()._generate_and_score_completions(*args, **kwargs)  # type: ignore[misc]
        return self._entropylab.rollouts.pinned(batch)

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        fused = self._entropylab.fused_head
        forward = super()._get_per_token_logps_and_entropies if fused is None else fused  # type: ignore[misc]
        found = forward(*args, **kwargs)
        self._entropylab.note_forward(found)
        return found

    def get_high_entropy_mask(self, *args: Any, **kwargs: Any) -> Any:
        """The trainer's mask of the tokens of high entropy."""
        mask = super().get_high_entropy_mask(*args, **kwargs)  # type: ignore[misc]
        self._entropylab.note_entropy_mask(mask)
        return mask


class LateAdvantages(dict[str, Any]):
    """Inputs of a loss whose advantages are made when they are read: after the forward pass."""

    def __init__(self, inputs: dict[str, Any], make: Callable[[], Any]) -> None:
        super().__init__(inputs)
        self._make = make

    def __getitem__(self, key: str) -> Any:
        """The value of ``key``, late for the advantages."""
        return self._make() if key == "advantages" else super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """Like ``dict.get``."""
        return self[key] if key == "advantages" else super().get(key, default)


class ForwardDone(Exception):  # noqa: N818
    """Ends a loss that was begun for its forward pass alone."""


def stop() -> Any:
    """In place of advantages: end the loss here."""
    raise ForwardDone


def swap_class(trainer: Any) -> type:
    """Put the seam before the trainer's class; returns the class to put back."""
    kind = type(trainer)
    members = {"__module__": kind.__module__, "__qualname__": kind.__qualname__, "__doc__": kind.__doc__}
    trainer.__class__ = type(kind.__name__, (Seam, kind), members)
    return kind
