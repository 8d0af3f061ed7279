"""Evaluation on held-out problems: greedy accuracy, accuracy at T = 1, and pass@8."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from .model import PolicyModel
from .rollout import rewards_of, sample_responses
from .streams import stream
from .tasks import COUNTDOWN, IntArray, Task

SAMPLES = 8


@dataclass(frozen=True)
class Evaluation:
    """Scores of one policy on ``n`` problems of a split; ``step`` rollouts had been trained on."""

    step: int
    split: str
    n: int
    accuracy: float
    accuracy_greedy: float
    pass_at_8: float

    @property
    def metrics(self) -> dict[str, float]:
        """The scores under the names they have in a run folder."""
        return {
            "accuracy": self.accuracy,
            "accuracy_greedy": self.accuracy_greedy,
            f"pass@{SAMPLES}": self.pass_at_8,
        }


def evaluate(
    model: PolicyModel, prompt_ids: IntArray, *, split: str, seed: int, step: int, task: Task = COUNTDOWN
) -> Evaluation:
    """Score a policy on problems, on a random stream that no other draw shares.

    Accuracy is the mean over 8 samples a problem at T = 1; pass@8 is the share of problems with a right one
    among them.
    """
    prompts = torch.from_numpy(task.prompt_tokens(prompt_ids))
    greedy = rewards_of(prompts, sample_responses(model, prompts), task) == 1
    generator = stream(seed, f"evaluation/{split}", step)
    sampled = sample_responses(model, prompts, samples=SAMPLES, generator=generator)
    right = (rewards_of(prompts.repeat_interleave(SAMPLES, 0), sampled, task) == 1).view(-1, SAMPLES)
    return Evaluation(
        step=step,
        split=split,
        n=len(prompt_ids),
        accuracy=right.double().mean().item(),
        accuracy_greedy=greedy.double().mean().item(),
        pass_at_8=right.any(dim=1).double().mean().item(),
    )
