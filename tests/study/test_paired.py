"""Paired intervals and scores against numbers by hand and against simulation."""

from __future__ import annotations

import numpy as np
import pytest
from paired import paired_difference
from scipy.stats import ttest_1samp

from entropylab.errors import InvalidInputError
from entropylab.lab.scores import pass_at, score_problems


def test_the_mean_and_the_t_interval_are_those_of_the_warm_ups() -> None:
    rng = np.random.default_rng(0)
    groups = [[rng.normal(mean, 1, 50) for _ in range(2)] for mean in (0.1, 0.4, 0.3, 0.2)]
    found = paired_difference(groups)
    means = [np.mean(group) for group in groups]
    assert found.mean == pytest.approx(np.mean(means))
    low, high = ttest_1samp(means, 0).confidence_interval(0.95)
    assert (found.t_low, found.t_high) == pytest.approx((low, high))
    assert (found.warm_ups, found.pairs) == (4, 8)
    assert found.low < found.mean < found.high


def test_the_interval_over_one_warm_up_is_that_over_its_problems() -> None:
    values = np.random.default_rng(1).normal(0.2, 1, 400)
    found = paired_difference([[values]])
    error = values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(found.mean - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(found.mean + 1.96 * error, abs=0.15 * error)
    assert np.isnan(found.t_low)


def test_warm_ups_of_unequal_seeds_weigh_the_same() -> None:
    ones, zeros = np.ones(10), np.zeros(10)
    found = paired_difference([[ones, ones, ones], [zeros]])
    assert found.mean == 0.5
    assert (found.low, found.high) == (0.0, 1.0)


def test_the_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    held = 0
    for _ in range(60):
        warm_ups = 0.3 + 0.1 * rng.normal(size=12)
        groups = [[w + 0.02 * rng.normal() + 0.3 * rng.normal(size=40)] for w in warm_ups]
        found = paired_difference(groups)
        held += found.low <= 0.3 <= found.high
    assert 50 <= held <= 60


def test_pass_at_is_the_share_of_the_subsets_that_hold_a_right_sample() -> None:
    """n = 4, c = 1: one of C(4, 2) = 6 pairs in two holds it."""
    np.testing.assert_allclose(pass_at(2, np.array([0, 1, 2, 3, 4]), 4), [0, 1 / 2, 5 / 6, 1, 1])
    np.testing.assert_allclose(pass_at(4, np.array([0, 1, 4]), 4), [0, 1, 1])
    with pytest.raises(InvalidInputError, match="k is 5 of 4 samples"):
        pass_at(5, np.array([1]), 4)


def test_scores_count_right_and_different_answers() -> None:
    """A policy that knows one answer gives it in every sample."""
    import torch

    from entropylab.lab.countdown import VOCABULARY, all_problems, prompt_tokens, solutions
    from entropylab.lab.model import PolicyModel

    ids = np.array([5, 17])
    answers = {tuple(prompt_tokens(ids)[i]): solutions(all_problems()[p].numbers) for i, p in enumerate(ids)}
    right = {
        prompt: next(chain for chain in chains if chain[-1] == prompt[5])
        for prompt, chains in answers.items()
    }

    class Knows(PolicyModel):
        """Says the first right answer, token by token."""

        def forward(self, tokens, cache=None, last=None):
            if tokens.shape[1] > 1:
                self.place, self.prompts = 0, [tuple(row) for row in tokens.tolist()]
                self.layers_of(cache, len(tokens))
            rows = len(tokens)
            asked = [self.prompts[i * len(self.prompts) // rows] for i in range(rows)]
            logits = torch.full((rows, 1, len(VOCABULARY)), -100.0)
            for row, prompt in enumerate(asked):
                logits[row, 0, right[prompt][self.place]] = 100.0
            self.place += 1
            return logits

        @staticmethod
        def layers_of(cache, rows):
            cache.layers = [(torch.zeros(rows, 1, 1, 1), torch.zeros(rows, 1, 1, 1))]

    scores = score_problems(Knows(), ids, samples=4, seed=0)
    assert scores["greedy"].all()
    assert scores["right"].tolist() == [4, 4]
    assert scores["distinct"].tolist() == [1, 1]
