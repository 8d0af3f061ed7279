"""Standard errors from sums of products against those from the tokens; counts of parts add up."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from entropylab.analysis.attribution_intervals import share_bounds
from entropylab.analysis.attribution_tables import enrichment, share_interval
from entropylab.engine.attribution_cells import CellCounts, counts_by_prompt, padded_sum
from entropylab.engine.attribution_totals import IdCounts, merge_ids

N, CELLS, PROMPTS = 3000, 4, 40


@pytest.fixture(scope="module")
def tokens():
    rng = np.random.default_rng(0)
    prompts = np.sort(rng.integers(0, PROMPTS, N))
    return prompts, rng.integers(0, CELLS + 1, N), rng.random(N) < 0.1 + 0.01 * prompts


@pytest.fixture(scope="module")
def cells(tokens):
    prompts, cell, mask = tokens
    return CellCounts.of(counts_by_prompt(prompts, cell, (slice(None), mask), CELLS))


def test_errors_are_those_of_the_tokens(tokens, cells):
    prompts, cell, mask = (x[tokens[1] < CELLS] for x in tokens)
    for k in range(CELLS):
        row = enrichment(cell == k, mask, prompts, 0.95, np.ones(len(cell)))
        error = cells.enrichment_error(1, k)
        assert np.log(row["high"] / row["low"]) / (2 * 1.959964) == pytest.approx(error, rel=1e-6)
        p = cells.total[1, k] / cells.size(1)
        bounds = share_bounds(p, cells.share_error(1, k), int(cells.held[1]), 0.95)
        assert bounds == pytest.approx(share_interval(cell[mask] == k, prompts[mask], 0.95), rel=1e-12)


def test_disjoint_prompts_merge_to_the_whole(tokens, cells):
    early = tokens[0] < 15
    parts = [
        CellCounts.of(counts_by_prompt(np.unique(p, return_inverse=True)[1], c, (slice(None), m), CELLS))
        for p, c, m in ([x[early] for x in tokens], [x[~early] for x in tokens])
    ]
    merged = parts[1].merge(parts[0])
    for name in ("total", "held", "products"):
        assert np.array_equal(getattr(merged, name), getattr(cells, name))


def test_one_prompt_has_no_error():
    counts = counts_by_prompt(np.zeros(6, int), np.array([0, 0, 1, 1, 1, 2]), (slice(None),), 2)
    found = CellCounts.of(counts)
    assert counts.tolist() == [[[2, 3]]]
    assert found.share_error(0, 1) == 0.0


def test_sums_of_different_lengths():
    assert padded_sum(np.array([1, 2]), np.array([10, 20, 30])).tolist() == [11, 22, 30]
    assert padded_sum(np.array([1, 2, 3]), np.array([10])).tolist() == [11, 2, 3]


def test_ids_are_counted_by_set_and_missing_ones_left_out():
    members = (slice(None), np.array([True, False, True, True]))
    one = IdCounts.of(pa.array([7, 7, None, 2], pa.int32()), members)
    assert (one.ids.tolist(), one.count.tolist()) == ([2, 7], [[1, 2], [1, 1]])
    two = merge_ids([one, IdCounts.of(pa.array([9, 2, 2, 2], pa.int32()), members)])
    assert (two.ids.tolist(), two.count.tolist()) == ([2, 7, 9], [[4, 2, 1], [3, 1, 1]])
