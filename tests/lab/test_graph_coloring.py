"""The second task against plain loops over edges."""

from __future__ import annotations

import numpy as np
import pytest

from entropylab.errors import InvalidInputError
from entropylab.lab import graph_coloring as task


def test_the_reward_is_the_share_of_proper_edges() -> None:
    rng = np.random.default_rng(0)
    ids = task.problem_ids("test")[:40]
    prompts, colors = task.prompt_tokens(ids), rng.integers(0, 3, size=(40, task.VERTICES))
    expected = []
    for edges, row in zip(task.all_graphs()[ids], colors, strict=True):
        proper = [row[i] != row[j] for (i, j), edge in zip(task.PAIRS, edges, strict=True) if edge]
        expected.append(np.mean(proper) if proper else 1.0)
    np.testing.assert_allclose(task.share_of_proper_edges(prompts, colors), expected, rtol=1e-12)
    colors[:, 2] = task.VOCABULARY.index(":")
    assert not task.share_of_proper_edges(prompts, colors).any()
    with pytest.raises(InvalidInputError, match="prompts have shape"):
        task.share_of_proper_edges(prompts[:, 1:], colors)


def test_examples_are_right_and_never_of_a_held_out_graph() -> None:
    rows = task.random_colorings(3000, seed=1)
    prompts, colors = rows[:, : task.PROMPT_LENGTH], rows[:, task.PROMPT_LENGTH :]
    assert (task.share_of_proper_edges(prompts, colors) == 1).all()
    held_out = np.concatenate([task.problem_ids("validation"), task.problem_ids("test")])
    assert not {tuple(row) for row in prompts} & {tuple(row) for row in task.prompt_tokens(held_out)}


def test_every_graph_is_a_problem_of_one_split() -> None:
    ids = np.concatenate([task.problem_ids(split) for split in ("train", "validation", "test")])
    assert sorted(ids) == list(range(len(task.all_graphs())))
    assert len(np.unique(task.all_graphs(), axis=0)) == len(ids)
