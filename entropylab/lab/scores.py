"""What a policy can do, problem by problem: right answers among many samples, and how many differ."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from ..errors import InvalidInputError
from .model import PolicyModel
from .rollout import rewards_of, sample_responses
from .streams import stream
from .tasks import COUNTDOWN, IntArray, Task


def score_problems(
    model: PolicyModel, prompt_ids: IntArray, *, samples: int, seed: int, task: Task = COUNTDOWN
) -> pd.DataFrame:
    """One row a problem: ``prompt_id``, ``greedy`` (right or not), ``right`` and ``distinct`` of ``samples``.

    ``right`` counts the right samples at T = 1, ``distinct`` the different right answers among them.
    The draws depend on ``seed`` alone.
    """
    prompts = torch.from_numpy(task.prompt_tokens(prompt_ids))
    greedy = rewards_of(prompts, sample_responses(model, prompts), task) == 1
    generator = stream(seed, "scores")
    responses = sample_responses(model, prompts, samples=samples, generator=generator)
    right = rewards_of(prompts.repeat_interleave(samples, 0), responses, task) == 1
    return pd.DataFrame(
        {
            "prompt_id": prompt_ids,
            "greedy": greedy.numpy(),
            "right": right.view(-1, samples).sum(dim=1).numpy().astype(np.int16),
            "distinct": _distinct(responses.numpy(), right.numpy(), samples),
        }
    )


def _distinct(responses: IntArray, right: NDArray[np.bool_], samples: int) -> NDArray[np.int16]:
    problem = np.repeat(np.arange(len(responses) // samples), samples)
    rows = np.unique(np.column_stack([problem, responses])[right], axis=0)
    return np.bincount(rows[:, 0], minlength=len(responses) // samples).astype(np.int16)


def pass_at(k: int, right: NDArray[np.integer], samples: int) -> NDArray[np.float64]:
    """Unbiased pass@k of each problem: 1 - C(n - c, k) / C(n, k) (arXiv 2107.03374, eq. 1).

    ``right`` [problems] is c, ``samples`` is n. Errors: InvalidInputError for a k outside 1 to ``samples``.
    """
    if not 1 <= k <= samples:
        raise InvalidInputError(f"k is {k} of {samples} samples: give 1 to {samples}")
    wrong = samples - np.asarray(right, dtype=np.float64)
    steps = np.arange(k, dtype=np.float64)
    factors = np.clip((wrong[:, None] - steps) / (samples - steps), 0.0, None)
    return 1.0 - factors.prod(axis=1)
