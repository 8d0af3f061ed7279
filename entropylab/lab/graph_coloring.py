"""A second task: color the vertices of a graph so that no edge joins two of one color.

``<start> 0 1 1 ... : r g b ...``: one bit for each pair of vertices, in the order of `PAIRS`, then one color
a vertex. The reward is graded, and a problem has many right answers.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from ..errors import InvalidInputError, UnknownNameError
from .countdown import SPLITS, IntArray

VERTICES = 7
COLORS: tuple[str, ...] = ("r", "g", "b")
EDGE_PROBABILITY = 0.7
"""Chance of an edge between two vertices of different color in the coloring that a graph is made from."""

PAIRS = np.array(list(combinations(range(VERTICES), 2)), dtype=np.int64)
VOCABULARY: tuple[str, ...] = (*COLORS, "0", "1", ":", "<start>")
PROMPT_LENGTH = len(PAIRS) + 2
PROBLEMS = {"train": 4000, "validation": 400, "test": 600}

_NO_EDGE, _COLON, _START = VOCABULARY.index("0"), VOCABULARY.index(":"), VOCABULARY.index("<start>")
_GRAPH_SEED = 7


@cache
def all_graphs() -> NDArray[np.bool_]:
    """Edges [5000, pairs] of all problems, every graph once; the place of a graph is its prompt id."""
    _, edges = _planted(4 * sum(PROBLEMS.values()), np.random.default_rng(_GRAPH_SEED))
    _, first = np.unique(_codes(edges), return_index=True)
    graphs = edges[np.sort(first)[: sum(PROBLEMS.values())]]
    graphs.flags.writeable = False
    return graphs


def _planted(count: int, rng: np.random.Generator) -> tuple[IntArray, NDArray[np.bool_]]:
    """Random colorings [count, vertices], and edges [count, pairs] that none of them breaks."""
    colors = rng.integers(0, len(COLORS), size=(count, VERTICES))
    differ = colors[:, PAIRS[:, 0]] != colors[:, PAIRS[:, 1]]
    return colors, differ & (rng.random(differ.shape) < EDGE_PROBABILITY)


def _codes(edges: NDArray[np.bool_]) -> IntArray:
    return edges @ (1 << np.arange(len(PAIRS), dtype=np.int64))


@cache
def problem_ids(split: str) -> IntArray:
    """Prompt ids of the graphs of a split, ascending; the array is read-only."""
    if split not in PROBLEMS:
        raise UnknownNameError(f"unknown split {split!r}: choose one of {', '.join(SPLITS)}")
    names = list(PROBLEMS)
    start = sum(PROBLEMS[name] for name in names[: names.index(split)])
    array = np.arange(start, start + PROBLEMS[split], dtype=np.int64)
    array.flags.writeable = False
    return array


def prompt_tokens(ids: IntArray) -> IntArray:
    """Prompt tokens [B, 23] of the graphs with these prompt ids [B]."""
    return _prompts(all_graphs()[ids])


def _prompts(edges: NDArray[np.bool_]) -> IntArray:
    column = np.ones((len(edges), 1), dtype=np.int64)
    return np.concatenate([_START * column, _NO_EDGE + edges.astype(np.int64), _COLON * column], axis=1)


def share_of_proper_edges(prompts: IntArray, responses: IntArray) -> NDArray[np.float64]:
    """Share of the edges [B] whose ends differ in color; 0 where a vertex has no color, 1 without edges.

    Errors: InvalidInputError for other shapes than prompts [B, 23] and responses [B, 7].
    """
    if prompts.shape != (len(responses), PROMPT_LENGTH) or responses.shape[1:] != (VERTICES,):
        raise InvalidInputError(
            f"prompts have shape {prompts.shape} and responses {responses.shape}: "
            f"give [B, {PROMPT_LENGTH}] and [B, {VERTICES}]"
        )
    edges = prompts[:, 1:-1] == _NO_EDGE + 1
    proper = responses[:, PAIRS[:, 0]] != responses[:, PAIRS[:, 1]]
    share = 1.0 - (edges & ~proper).sum(axis=1) / np.maximum(edges.sum(axis=1), 1)
    return np.where((responses < len(COLORS)).all(axis=1), share, 0.0)


def random_colorings(count: int, *, seed: int) -> IntArray:
    """``count`` whole sequences [count, 30]: a random graph, never one of the held-out problems, colored.

    The coloring is the one that the graph was made from.
    Errors: InvalidInputError for a count below 1.
    """
    if count < 1:
        raise InvalidInputError(f"count is {count}: give at least 1")
    rng = np.random.default_rng(seed)
    held_out = _codes(all_graphs()[PROBLEMS["train"] :])
    parts: list[IntArray] = []
    while sum(map(len, parts)) < count:
        colors, edges = _planted(count, rng)
        kept = ~np.isin(_codes(edges), held_out)
        parts.append(np.concatenate([_prompts(edges[kept]), colors[kept]], axis=1))
    return np.concatenate(parts)[:count]
