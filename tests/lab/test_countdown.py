from __future__ import annotations

import re
from itertools import permutations

import numpy as np
import pytest

from entropylab.errors import InvalidInputError, UnknownNameError
from entropylab.lab.chains import random_chains
from entropylab.lab.countdown import (
    PROMPT_LENGTH,
    SPLITS,
    VOCABULARY,
    all_problems,
    problem_ids,
    prompt_tokens,
    solutions,
    verify,
)
from entropylab.lab.tasks import COUNTDOWN


def encode(text: str) -> np.ndarray:
    return np.array([VOCABULARY.index(word) for word in text.split()])


def right_by_the_words(prompt: str, response: str) -> bool:
    """The rules again, on text: an independent judge."""
    match = re.fullmatch(r"(\d+) ([-+*]) (\d+) = (\d+) (\d+) ([-+*]) (\d+) = (\d+)", response)
    if match is None:
        return False
    a, first, b, middle, c, second, d, result = match.groups()
    if eval(f"{a}{first}{b}") != int(middle) or eval(f"{c}{second}{d}") != int(result):
        return False
    numbers, target = prompt.removeprefix("<start> ").removesuffix(" :").split(" > ")
    if result != target:
        return False
    given = sorted(numbers.split())
    return (c == middle and sorted((a, b, d)) == given) or (d == middle and sorted((a, b, c)) == given)


@pytest.mark.parametrize(
    ("prompt", "response", "right"),
    [
        ("<start> 6 6 12 > 24 :", "6 * 6 = 36 36 - 12 = 24", True),
        ("<start> 6 6 12 > 24 :", "6 + 6 = 12 12 + 12 = 24", True),
        ("<start> 6 6 12 > 24 :", "6 * 6 = 36 12 - 36 = 24", False),
        ("<start> 6 6 12 > 24 :", "6 * 6 = 35 35 - 11 = 24", False),
        ("<start> 6 6 12 > 24 :", "6 * 6 = 36 36 - 6 = 30", False),
        ("<start> 6 6 12 > 24 :", "6 * 6 = 36 30 - 6 = 24", False),
        ("<start> 6 6 12 > 24 :", "12 + 12 = 24 24 + 0 = 24", False),
        ("<start> 6 6 12 > 24 :", "6 * 6 = 36 36 - 12 : 24", False),
        ("<start> 6 6 12 > 24 :", "6 * 6 > 36 36 - 12 = 24", False),
        ("<start> 6 6 12 > 24 :", "<start> + - = 24 24 + 0 = 24", False),
        ("<start> 1 2 3 > 0 :", "1 + 2 = 3 3 - 3 = 0", True),
        ("<start> 2 3 4 > 10 :", "2 * 3 = 6 4 + 6 = 10", True),
    ],
)
def test_verifier_by_hand(prompt: str, response: str, right: bool) -> None:
    assert verify(encode(prompt)[None], encode(response)[None]).tolist() == [right]
    assert right_by_the_words(prompt, response) == right


def test_verifier_accepts_exactly_the_solutions() -> None:
    triple = (2, 3, 4)
    chains = np.array(solutions(triple))
    ids = np.array([i for i, p in enumerate(all_problems()) if p.numbers == triple])
    for prompt_id in ids:
        prompts = prompt_tokens(np.full(len(chains), prompt_id))
        expected = chains[:, -1] == all_problems()[prompt_id].target
        assert (verify(prompts, chains) == expected).all()


def test_verifier_agrees_with_the_words_on_damaged_answers() -> None:
    rng = np.random.default_rng(0)
    chains = random_chains(4000, seed=1)
    damaged = chains.copy()
    rows = np.arange(len(damaged))
    damaged[rows, rng.integers(PROMPT_LENGTH, 17, len(rows))] = rng.integers(0, len(VOCABULARY), len(rows))
    for batch in (chains, damaged):
        verdict = verify(batch[:, :PROMPT_LENGTH], batch[:, PROMPT_LENGTH:])
        words = [
            right_by_the_words(COUNTDOWN.decode(row[:PROMPT_LENGTH]), COUNTDOWN.decode(row[PROMPT_LENGTH:]))
            for row in batch
        ]
        assert verdict.tolist() == words


def test_solutions_by_brute_force() -> None:
    found = set()
    for a, b, c in permutations((3, 5, 7)):
        for first in "+-*":
            middle = eval(f"{a}{first}{b}")
            for left, right in ((middle, c), (c, middle)):
                for second in "+-*":
                    target = eval(f"{left}{second}{right}")
                    if 0 <= middle <= 40 and 0 <= target <= 40:
                        found.add(f"{a} {first} {b} = {middle} {left} {second} {right} = {target}")
    assert {COUNTDOWN.decode(chain) for chain in solutions((3, 5, 7))} == found


def test_splits() -> None:
    parts = [set(problem_ids(split).tolist()) for split in SPLITS]
    assert [len(part) for part in parts] == [3854, 387, 599]
    assert set.union(*parts) == set(range(4840))
    assert sum(map(len, parts)) == len(all_problems()) == 4840


def test_vocabulary() -> None:
    assert len(VOCABULARY) == len(set(VOCABULARY)) == 48
    assert VOCABULARY[:41] == tuple(str(n) for n in range(41))
    assert COUNTDOWN.decode(prompt_tokens(np.array([0]))[0]) == "<start> 1 1 1 > 0 :"


def test_bad_input_is_named() -> None:
    with pytest.raises(UnknownNameError, match="dev"):
        problem_ids("dev")
    with pytest.raises(InvalidInputError, match=r"\(1, 6\)"):
        verify(np.zeros((1, 6), dtype=np.int64), np.zeros((1, 10), dtype=np.int64))


def test_chains_are_right_training_problems() -> None:
    chains = random_chains(3000, seed=0)
    prompts, answers = chains[:, :PROMPT_LENGTH], chains[:, PROMPT_LENGTH:]
    assert chains.shape == (3000, 17)
    assert verify(prompts, answers).all()
    train = {tuple(row) for row in prompt_tokens(problem_ids("train")).tolist()}
    assert {tuple(row) for row in prompts.tolist()} <= train


def test_chains_are_reproducible_and_varied() -> None:
    assert (random_chains(100, seed=3) == random_chains(100, seed=3)).all()
    assert (random_chains(100, seed=3) != random_chains(100, seed=4)).any()


def test_operator_weights_make_multiplication_rare() -> None:
    times = VOCABULARY.index("*")
    even = random_chains(20_000, seed=0)[:, [8, 13]] == times
    rare = random_chains(20_000, seed=0, operator_weights=(0.49, 0.49, 0.02))[:, [8, 13]] == times
    assert even.mean() == pytest.approx(0.183, abs=0.01)
    assert rare.mean() == pytest.approx(0.0098, abs=0.002)


@pytest.mark.parametrize("weights", [(0.5, 0.5, 0.5), (1.5, -0.5, 0.0), (0.5, 0.5)])
def test_bad_weights_are_named(weights: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError, match="operator_weights"):
        random_chains(10, seed=0, operator_weights=weights)  # type: ignore[arg-type]
