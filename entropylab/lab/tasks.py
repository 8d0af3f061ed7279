"""The tasks of the lab by name: their vocabulary, problems, rewards, and what the warm-up imitates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownNameError
from . import countdown, graph_coloring
from .chains import random_chains
from .countdown import IntArray


@dataclass(frozen=True)
class Task:
    """A family of problems whose prompts have P tokens and whose responses have T.

    ``problem_ids`` gives the prompt ids of a split; ``prompt_tokens`` their prompts [B, P]; ``rewards`` the
    reward [B] of responses [B, T], from 0 to 1, where 1 means right; ``examples`` draws right sequences
    [count, P + T] for the warm-up by seed and operator weights. ``facts`` go into the configuration of a run.
    """

    name: str
    vocabulary: tuple[str, ...]
    prompt_length: int
    response_length: int
    problem_ids: Callable[[str], IntArray]
    prompt_tokens: Callable[[IntArray], IntArray]
    rewards: Callable[[IntArray, IntArray], NDArray[np.float64]]
    examples: Callable[[int, int, tuple[float, float, float]], IntArray]
    facts: Mapping[str, Any] = field(default_factory=dict)

    def decode(self, tokens: list[int]) -> str:
        """The tokens as text, separated by spaces."""
        return " ".join(self.vocabulary[token] for token in tokens)

    def describe(self) -> dict[str, Any]:
        """Name, facts and the number of problems of each split, as plain JSON data."""
        problems = {split: len(self.problem_ids(split)) for split in countdown.SPLITS}
        return {"name": self.name, **self.facts, "problems": problems}


COUNTDOWN = Task(
    name="countdown",
    vocabulary=countdown.VOCABULARY,
    prompt_length=countdown.PROMPT_LENGTH,
    response_length=countdown.RESPONSE_LENGTH,
    problem_ids=countdown.problem_ids,
    prompt_tokens=countdown.prompt_tokens,
    rewards=lambda prompts, responses: countdown.verify(prompts, responses).astype(np.float64),
    examples=lambda count, seed, weights: random_chains(count, seed=seed, operator_weights=weights),
    facts={
        "numbers": 3,
        "largest_number": countdown.LARGEST_NUMBER,
        "largest_value": countdown.LARGEST_VALUE,
        "operators": list(countdown.OPERATORS),
    },
)
"""Three numbers and a target; right or wrong; few right answers a problem."""

GRAPH_COLORING = Task(
    name="graph-coloring",
    vocabulary=graph_coloring.VOCABULARY,
    prompt_length=graph_coloring.PROMPT_LENGTH,
    response_length=graph_coloring.VERTICES,
    problem_ids=graph_coloring.problem_ids,
    prompt_tokens=graph_coloring.prompt_tokens,
    rewards=graph_coloring.share_of_proper_edges,
    examples=lambda count, seed, weights: graph_coloring.random_colorings(count, seed=seed),
    facts={
        "vertices": graph_coloring.VERTICES,
        "colors": len(graph_coloring.COLORS),
        "edge_probability": graph_coloring.EDGE_PROBABILITY,
    },
)
"""Three colours for the vertices of a graph; the reward is graded; many right answers a problem."""

TASKS = {task.name: task for task in (COUNTDOWN, GRAPH_COLORING)}


def task_named(name: str) -> Task:
    """The task of this name, else UnknownNameError."""
    if name not in TASKS:
        raise UnknownNameError(f"unknown task {name!r}: choose one of {', '.join(TASKS)}")
    return TASKS[name]
