"""Paired differences over warm-ups, RL seeds and problems, with two kinds of 95 % intervals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student

DRAWS, LEVEL, SEED = 4000, 0.95, 0


@dataclass(frozen=True)
class Difference:
    """A mean with its bootstrap interval, and the t interval over the means of the warm-ups."""

    mean: float
    low: float
    high: float
    t_low: float
    t_high: float
    warm_ups: int
    pairs: int

    def text(self, digits: int = 3) -> str:
        """``+0.012 [-0.003, 0.027]``, by the bootstrap; without interval where nothing can be drawn anew."""
        if self.low == self.high:
            return f"{self.mean:+.{digits}f}"
        return f"{self.mean:+.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"

    def t_text(self, digits: int = 3) -> str:
        """``[-0.003, 0.027]``, by the t interval."""
        return f"[{self.t_low:.{digits}f}, {self.t_high:.{digits}f}]"


def paired_difference(groups: list[list[NDArray[np.float64]]]) -> Difference:
    """Mean of differences ``groups[warm-up][seed]`` [problems]: one list a warm-up, one array an RL seed.

    Bootstrap: warm-ups are drawn anew, of each drawn warm-up its seeds, and the problems once for all.
    """
    pairs = [(index, values) for index, group in enumerate(groups) for values in group]
    table = np.stack([values for _, values in pairs])
    warm_up = np.array([index for index, _ in pairs])
    by_pair = _problem_weights(table.shape[1]) @ table.T
    means = (by_pair * _pair_weights(groups)).sum(axis=1)
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(means, [tail, 1 - tail])
    own = np.array([table[warm_up == index].mean() for index in range(len(groups))])
    spread = _t_margin(own)
    mean = float(own.mean())
    return Difference(mean, float(low), float(high), mean - spread, mean + spread, len(groups), len(pairs))


@cache
def _problem_weights(problems: int) -> NDArray[np.float64]:
    """Weights [draws, problems] that sum to 1: how often each problem was drawn."""
    rng = np.random.default_rng(SEED)
    return rng.multinomial(problems, np.full(problems, 1 / problems), size=DRAWS) / problems


def _pair_weights(groups: list[list[NDArray[np.float64]]]) -> NDArray[np.float64]:
    """Weights [draws, pairs] that sum to 1: how often each warm-up, and of it each seed, was drawn."""
    rng, count = np.random.default_rng(SEED + 1), len(groups)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)
    parts = []
    for index, group in enumerate(groups):
        seeds = rng.multinomial(drawn[:, index] * len(group), np.full(len(group), 1 / len(group)))
        parts.append(seeds / (count * len(group)))
    return np.concatenate(parts, axis=1)


def _t_margin(means: NDArray[np.float64]) -> float:
    if len(means) < 2:
        return float("nan")
    quantile = student.ppf((1 + LEVEL) / 2, len(means) - 1)
    return float(quantile * means.std(ddof=1) / np.sqrt(len(means)))
