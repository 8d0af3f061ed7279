"""Random correct chains over the training problems: what the policy imitates in the warm-up."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..errors import InvalidInputError
from .countdown import (
    LARGEST_NUMBER,
    LARGEST_VALUE,
    OPERATORS,
    VOCABULARY,
    IntArray,
    all_problems,
    problem_ids,
    prompt_tokens,
)

_PLUS, _EQUALS = VOCABULARY.index("+"), VOCABULARY.index("=")


def random_chains(
    count: int, *, seed: int, operator_weights: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
) -> IntArray:
    """``count`` whole sequences [count, 17], each a training problem with a right answer.

    Numbers, their order and both operators (+, -, * with the given weights) are drawn at random; a draw that
    leaves the range of values or the training split is drawn again.
    Errors: InvalidInputError for a count below 1 or weights that are not three probabilities.
    """
    weights = np.asarray(operator_weights, dtype=np.float64)
    if (
        count < 1
        or weights.shape != (len(OPERATORS),)
        or (weights < 0).any()
        or not np.isclose(weights.sum(), 1)
    ):
        raise InvalidInputError(
            f"count is {count} and operator_weights is {operator_weights}: "
            "give a count of at least 1 and three weights >= 0 that sum to 1"
        )
    rng = np.random.default_rng(seed)
    parts: list[IntArray] = []
    while sum(map(len, parts)) < count:
        parts.append(_draw(2 * count, rng, weights))
    return np.concatenate(parts)[:count]


def _draw(count: int, rng: np.random.Generator, weights: np.ndarray) -> IntArray:
    first, second, last = rng.integers(1, LARGEST_NUMBER + 1, size=(3, count))
    operator, next_operator = rng.choice(len(OPERATORS), size=(2, count), p=weights)
    middle = _apply(operator, first, second)
    swapped = rng.random(count) < 0.5
    left, right = np.where(swapped, last, middle), np.where(swapped, middle, last)
    target = _apply(next_operator, left, right)
    in_range = _in_range(middle) & _in_range(target)
    prompt_id = _train_ids()[first, second, last, np.where(in_range, target, 0)]
    kept = in_range & (prompt_id >= 0)
    equals = np.full(count, _EQUALS)
    answers = np.stack(
        [first, _PLUS + operator, second, equals, middle, left, _PLUS + next_operator, right, equals, target],
        1,
    )
    prompts = prompt_tokens(prompt_id[kept])
    return np.concatenate([prompts, answers[kept]], axis=1)


def _apply(operator: IntArray, left: IntArray, right: IntArray) -> IntArray:
    return np.choose(operator, [left + right, left - right, left * right])


def _in_range(values: IntArray) -> np.ndarray:
    return (values >= 0) & (values <= LARGEST_VALUE)


@cache
def _train_ids() -> IntArray:
    """Prompt id of each training problem at [number, number, number, target], in any order; -1 elsewhere."""
    table = np.full((*(LARGEST_NUMBER + 1,) * 3, LARGEST_VALUE + 1), -1, dtype=np.int64)
    problems = all_problems()
    for prompt_id in problem_ids("train"):
        a, b, c = problems[prompt_id].numbers
        for order in ((a, b, c), (a, c, b), (b, a, c), (b, c, a), (c, a, b), (c, b, a)):
            table[(*order, problems[prompt_id].target)] = prompt_id
    return table
