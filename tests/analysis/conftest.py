"""Synthetic rollouts for the tests of the tail: softmax sampling, binary group-normalised advantages."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

VOCABULARY = 500
EXPONENTS = np.linspace(0.3, 6.0, 58)


def zipf_logprobs(exponents: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """log p of one token sampled at temperature 1 from a Zipf softmax of each exponent, [n]."""
    table = -EXPONENTS[:, None] * np.log(np.arange(1, VOCABULARY + 1))
    table -= np.log(np.exp(table).sum(axis=1, keepdims=True))
    cumulative = np.exp(table).cumsum(axis=1)
    row = np.clip(np.searchsorted(EXPONENTS, exponents), 0, len(EXPONENTS) - 1)
    out, uniform = np.empty(len(exponents)), rng.random(len(exponents))
    for r in np.unique(row):
        chosen = row == r
        token = np.searchsorted(cumulative[r], uniform[chosen] * cumulative[r, -1])
        out[chosen] = table[r][np.minimum(token, VOCABULARY - 1)]
    return out


def make_batch(
    rng: np.random.Generator,
    *,
    prompts: int = 64,
    group: int = 8,
    length: int = 25,
    coupling: float = 0.0,
    prompt_effect: float = 0.0,
    response_effect: float = 0.0,
) -> dict[str, np.ndarray]:
    """Arguments of `analyze_tails`. `coupling` makes tokens of responses with low advantage less certain."""
    responses = prompts * group
    reward = (rng.random(responses) < np.repeat(rng.uniform(0.05, 0.95, prompts), group)).astype(float)
    grouped = reward.reshape(prompts, group)
    scaled = (grouped - grouped.mean(1, keepdims=True)) / (grouped.std(1, ddof=1, keepdims=True) + 1e-6)
    lengths = rng.integers(length // 2, 2 * length - length // 2, responses)
    response = np.repeat(np.arange(responses), lengths)
    advantages = scaled.ravel()[response]
    certainty = rng.uniform(0.6, 4.0, len(response)) + coupling * advantages
    certainty += rng.normal(0, prompt_effect, prompts)[response // group]
    certainty += rng.normal(0, response_effect, responses)[response]
    logprobs = zipf_logprobs(np.clip(certainty, EXPONENTS[0], EXPONENTS[-1]), rng)
    return {
        "covariance": (logprobs - logprobs.mean()) * (advantages - advantages.mean()),
        "logprobs": logprobs,
        "advantages": advantages,
        "prompt_ids": response // group,
        "sample_ids": response,
    }


@pytest.fixture(scope="session")
def rollout_batch() -> Callable[..., dict[str, np.ndarray]]:
    """The factory `make_batch`."""
    return make_batch
