"""Evaluation passes: their rewards and entropy, recorded as evaluations and kept apart from training."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from ...record.recorder import Recorder


class Evaluations:
    """Collects one evaluation at a time; those of several datasets lie inside one another."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._under_way: list[_Collected] = []

    def note_rewards(self, rewards: Tensor) -> None:
        """Rewards [responses of all ranks, functions] of an evaluation batch."""
        if self._under_way:
            self._under_way[-1].rewards.append(rewards.detach())

    def note_entropy(self, entropy: Tensor, mask: Tensor) -> None:
        """Entropies of this rank's tokens of an evaluation batch, [B, T]."""
        if self._under_way:
            self._under_way[-1].entropy.append((entropy.detach() * mask).sum().double())
            self._under_way[-1].tokens.append(mask.sum().double())

    @contextmanager
    def collect(self, prefix: str, recorder: Recorder) -> Iterator[None]:
        """Collect what is evaluated within; record it as split ``validation`` or ``validation/NAME``."""
        collected = _Collected()
        self._under_way.append(collected)
        try:
            yield
        finally:
            self._under_way.pop()
        if collected.rewards:
            self._record(collected, _split(prefix), recorder)

    def _record(self, collected: _Collected, split: str, recorder: Recorder) -> None:
        values, n_responses = collected.means(self._trainer)
        n_prompts = max(1, n_responses // _responses_a_prompt(self._trainer))
        if self._trainer.accelerator.process_index != 0:
            return
        step = int(self._trainer.state.global_step)
        for metric, value in values.items():
            if math.isfinite(value):
                recorder.evaluate(step, split=split, metric=metric[:60], value=value, n=n_prompts)


class _Collected:
    """What one evaluation pass gave so far."""

    def __init__(self) -> None:
        self.rewards: list[Tensor] = []
        self.entropy: list[Tensor] = []
        self.tokens: list[Tensor] = []

    def means(self, trainer: Any) -> tuple[dict[str, float], int]:
        """Mean reward, mean of each reward function, and mean entropy of a token; and the responses."""
        import torch

        rewards = torch.cat(self.rewards).double().cpu()
        total = total_reward(rewards, trainer.reward_weights.double().cpu())
        found = {"reward": float(total.nanmean())}
        if rewards.shape[1] > 1:
            names = [f"reward/{name}" for name in trainer.reward_func_names]
            found |= dict(zip(names, rewards.nanmean(0).tolist(), strict=True))
        if self.entropy:
            sums = torch.stack([torch.stack(self.entropy).sum(), torch.stack(self.tokens).sum()])
            entropy, tokens = trainer.accelerator.reduce(sums, reduction="sum").tolist()
            found["entropy"] = entropy / max(tokens, 1.0)
        return found, len(rewards)


def total_reward(rewards: Tensor, weights: Tensor) -> Tensor:
    """The weighted sum [B] over the reward functions that scored a response; NaN where none did."""
    total = (rewards * weights.to(rewards.device).unsqueeze(0)).nansum(dim=1)
    return total.masked_fill(rewards.isnan().all(dim=1), float("nan"))


def _responses_a_prompt(trainer: Any) -> int:
    """In evaluation; older versions have no number of its own."""
    return int(getattr(trainer, "num_generations_eval", None) or trainer.num_generations)


def _split(prefix: str) -> str:
    name = prefix.removeprefix("eval").removeprefix("_")
    return f"validation/{name}"[:60] if name else "validation"
