"""Sentences that must hold two words, for a small chat model: problems, verifier, and GRPO's advantages."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

SYSTEM = "Write one short sentence."
WORDS = (
    "bread",
    "doctor",
    "forest",
    "garden",
    "horse",
    "kitchen",
    "letter",
    "market",
    "mountain",
    "music",
    "river",
    "summer",
    "teacher",
    "train",
    "window",
    "winter",
)
"""Of one token each, so that all prompts are of one length."""


@dataclass(frozen=True)
class Problem:
    """Two words that a sentence must hold."""

    words: tuple[str, str]

    @property
    def question(self) -> str:
        """As the model is asked."""
        return f"Use the words {self.words[0]} and {self.words[1]}."

    @property
    def chat(self) -> list[dict[str, str]]:
        """The turns before the model's own."""
        return [{"role": "system", "content": SYSTEM}, {"role": "user", "content": self.question}]

    def is_solved_by(self, response: str) -> bool:
        """Whether a response holds both words, in any case."""
        return set(self.words) <= set(re.findall(r"[a-z]+", response.lower()))


def make_problems(count: int, seed: int) -> list[Problem]:
    """Different pairs of words, at most 120."""
    return [Problem(pair) for pair in random.Random(seed).sample(list(combinations(WORDS, 2)), count)]


def group_advantages(rewards: Floats) -> Floats:
    """(R - mean)/sd of each group [prompts, G], sd of the sample (n - 1); 0 where all rewards are equal."""
    centred = rewards - rewards.mean(axis=1, keepdims=True)
    spread = rewards.std(axis=1, ddof=1, keepdims=True)
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
