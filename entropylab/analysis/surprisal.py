"""Tokens more surprising than sampling allows: a sign that sampler and trainer are not the same policy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class SurprisalCheck:
    """Surprisal S = -log π of n sampled tokens against its bound, in nats.

    With sampling at temperature 1, P(S > t) <= V exp(-t), so of n tokens fewer than one is expected beyond
    ln V + ln n. ``above``: those that lie there; ``largest``: the largest S; p: the bound on the probability
    of a token as surprising, n V exp(-largest), at most 1.
    """

    n: int
    vocabulary_size: int
    limit: float
    above: int
    largest: float
    p: float

    @property
    def mismatch(self) -> bool:
        """Whether so surprising a token has a probability of less than 1 in 100."""
        return self.p < 0.01

    def sentence(self) -> str:
        """What was found, as a warning."""
        return (
            f"{self.above} of {self.n:,} tokens have -log π above {self.limit:.1f} nats (largest "
            f"{self.largest:.1f}), where sampling from these probabilities puts fewer than one: the sampler "
            "and the trainer disagree (precision, temperature, top-p, or a stale policy)"
        )


def check_surprisal(logprobs: ArrayLike, vocabulary_size: int) -> SurprisalCheck:
    """Compare logprobs [n] of sampled tokens, in nats, with the bound for a vocabulary of that size."""
    surprisal = -np.asarray(logprobs, dtype=np.float64)
    surprisal = surprisal[~np.isnan(surprisal)]
    n = len(surprisal)
    limit = float(np.log(vocabulary_size) + np.log(max(n, 1)))
    largest = float(surprisal.max()) if n else 0.0
    p = float(np.exp(min(limit - largest, 0.0)))
    return SurprisalCheck(n, vocabulary_size, limit, int((surprisal > limit).sum()), largest, p)


def vocabulary_size_of(config: Mapping[str, Any]) -> int | None:
    """The size of the vocabulary that a run's config tells, None where it does not."""
    model = config.get("model")
    places = [config.get("vocabulary"), config.get("vocab_size")]
    if isinstance(model, Mapping):
        places += [model.get("vocab_size"), model.get("vocabulary")]
    for value in places:
        if isinstance(value, list) and value:
            return len(value)
        if isinstance(value, int) and not isinstance(value, bool) and value > 1:
            return value
    return None
