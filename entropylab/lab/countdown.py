"""The task: reach a target from three numbers with +, - and *, one token a number.

``<start> 6 6 12 > 24 : 6 * 6 = 36 36 - 12 = 24`` is a problem of 7 tokens and a right answer of 10.
Numbers run from 1 to 15, results from 0 to 40; each number is used exactly once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, permutations

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, UnknownNameError

LARGEST_NUMBER = 15
LARGEST_VALUE = 40
OPERATORS: tuple[str, ...] = ("+", "-", "*")
VOCABULARY: tuple[str, ...] = (
    *(str(value) for value in range(LARGEST_VALUE + 1)),
    *OPERATORS,
    "=",
    ">",
    ":",
    "<start>",
)
"""The 48 token strings; the id of a number is the number itself."""

PROMPT_LENGTH = 7
RESPONSE_LENGTH = 10
SPLITS: tuple[str, ...] = ("train", "validation", "test")

_VALIDATION_PERCENT, _TEST_PERCENT = 8, 12
_PLUS, _MINUS, _TIMES, _EQUALS, _ARROW, _COLON, _START = range(LARGEST_VALUE + 1, len(VOCABULARY))

IntArray = NDArray[np.int64]


@dataclass(frozen=True, order=True)
class CountdownProblem:
    """Three numbers in ascending order and the target that they must reach."""

    numbers: tuple[int, int, int]
    target: int


def apply_operator(operator: int, left: int, right: int) -> int | None:
    """Result of operator 0 (+), 1 (-) or 2 (*), or None where it leaves the range 0 to 40."""
    value = (left + right, left - right, left * right)[operator]
    return value if 0 <= value <= LARGEST_VALUE else None


def solutions(numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """Every distinct valid chain from three numbers, each as its 10 response tokens."""
    chains = set()
    for first, second, last in permutations(numbers):
        for operator in range(3):
            middle = apply_operator(operator, first, second)
            if middle is None:
                continue
            start = (first, _PLUS + operator, second, _EQUALS, middle)
            chains |= {start + end for end in _second_equations(middle, last)}
    return sorted(chains)


def _second_equations(middle: int, last: int) -> list[tuple[int, ...]]:
    ends: list[tuple[int, ...]] = []
    for left, right in ((middle, last), (last, middle)):
        for operator in range(3):
            value = apply_operator(operator, left, right)
            if value is not None:
                ends.append((left, _PLUS + operator, right, _EQUALS, value))
    return ends


@cache
def all_problems() -> tuple[CountdownProblem, ...]:
    """All 4,840 solvable problems; the place of a problem in this order is its prompt id."""
    numbers = combinations_with_replacement(range(1, LARGEST_NUMBER + 1), 3)
    return tuple(
        CountdownProblem(triple, target)
        for triple in numbers
        for target in sorted({chain[-1] for chain in solutions(triple)})
    )


def split_of(problem: CountdownProblem) -> str:
    """The split of a problem by a hash of its numbers and target: 80 % train, 8 % validation, 12 % test."""
    text = "-".join(map(str, (*problem.numbers, problem.target)))
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    percent = int.from_bytes(digest, "little") % 100
    if percent < _VALIDATION_PERCENT:
        return "validation"
    return "test" if percent < _VALIDATION_PERCENT + _TEST_PERCENT else "train"


@cache
def problem_ids(split: str) -> IntArray:
    """Prompt ids of the problems of a split, ascending; the array is read-only."""
    if split not in SPLITS:
        raise UnknownNameError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    ids = [i for i, problem in enumerate(all_problems()) if split_of(problem) == split]
    array = np.array(ids, dtype=np.int64)
    array.flags.writeable = False
    return array


@cache
def _prompt_table() -> IntArray:
    rows = [[_START, *p.numbers, _ARROW, p.target, _COLON] for p in all_problems()]
    return np.array(rows, dtype=np.int64)


def prompt_tokens(ids: IntArray) -> IntArray:
    """Prompt tokens [B, 7] of the problems with these prompt ids [B]."""
    return _prompt_table()[ids]


def verify(prompts: IntArray, responses: IntArray) -> NDArray[np.bool_]:
    """Which responses [B, 10] solve their prompts [B, 7].

    Right means: two true equations in the grammar ``a o b = c``, the second one over the result of the
    first and the number left over, every given number used once, the target reached.
    Errors: InvalidInputError for other shapes.
    """
    if prompts.shape != (len(responses), PROMPT_LENGTH) or responses.shape[1:] != (RESPONSE_LENGTH,):
        raise InvalidInputError(
            f"prompts have shape {prompts.shape} and responses {responses.shape}: "
            f"give [B, {PROMPT_LENGTH}] and [B, {RESPONSE_LENGTH}]"
        )
    first, second = responses[:, :5], responses[:, 5:]
    true_equations = _equation_holds(first) & _equation_holds(second)
    return (
        true_equations & _uses_numbers_once(prompts[:, 1:4], first, second) & (second[:, 4] == prompts[:, 5])
    )


def _equation_holds(equation: IntArray) -> NDArray[np.bool_]:
    left, operator, right, equals, result = equation.T
    numbers = (np.stack([left, right, result]) <= LARGEST_VALUE).all(axis=0)
    value = np.select(
        [operator == _PLUS, operator == _MINUS, operator == _TIMES],
        [left + right, left - right, left * right],
        default=-1,
    )
    return numbers & (equals == _EQUALS) & (value == result)


def _uses_numbers_once(numbers: IntArray, first: IntArray, second: IntArray) -> NDArray[np.bool_]:
    middle = first[:, 4]
    given = np.sort(numbers, axis=1)
    fits = np.zeros(len(first), dtype=bool)
    for reused, fresh in ((0, 2), (2, 0)):
        used = np.sort(np.stack([first[:, 0], first[:, 2], second[:, fresh]], axis=1), axis=1)
        fits |= (second[:, reused] == middle) & (used == given).all(axis=1)
    return fits
