"""Ranking on the device: exact ties, the hash, the draw, the budget."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings, strategies as st
from scipy import stats

from entropylab.losses import hashing, selection
from entropylab.losses.numpy_selection import first_by_hash, first_by_key as first_by_key_numpy
from entropylab.losses.selection import first_by_key, mark_rows, top_by_score
from entropylab.losses.token_budget import TokenBudget
from entropylab.losses.token_hash import hash_key, token_hash


def _drawn(eligible, count, limit, ids, *, seed, step):
    key = hash_key(eligible, ids, seed=seed, step=step)
    return mark_rows(*first_by_key(key, torch.tensor(count), limit, ids), eligible.shape)


def _brute(score, eligible, count, ids):
    places = [(b, t) for b in range(len(score)) for t in range(score.shape[1]) if eligible[b, t]]
    places.sort(key=lambda p: (-float(score[p]), int(ids[p[0]]), p[1]))
    chosen = torch.zeros(score.shape, dtype=torch.bool)
    for place in places[:count]:
        chosen[place] = True
    return chosen


def _way(sorts):
    """By a threshold as on a CPU, or by a sort as elsewhere."""
    return mock.patch.object(selection, "_sorts", return_value=sorts)


EITHER_WAY = pytest.mark.parametrize("sorts", [False, True], ids=["threshold", "sort"])


@EITHER_WAY
@settings(max_examples=100, deadline=None)
@given(
    rows=st.integers(1, 5),
    length=st.integers(1, 90),
    levels=st.integers(1, 6),
    count=st.integers(0, 40),
    spare=st.integers(0, 20),
    seed=st.integers(0, 2**31),
    named=st.booleans(),
)
def test_top_is_the_sorted_list_ties_included(sorts, rows, length, levels, count, spare, seed, named):
    rng = np.random.default_rng(seed)
    score = torch.from_numpy(rng.integers(0, levels, (rows, length)).astype(np.float32) - 2)
    eligible = torch.from_numpy(rng.random((rows, length)) < 0.7)
    ids = torch.from_numpy(rng.permutation(rows).astype(np.int64) - 2) if named else torch.arange(rows)
    count = min(count, rows * length)
    limit = min(count + spare, rows * length)
    with _way(sorts):
        chosen = top_by_score(score, eligible.float(), torch.tensor(count), limit, ids)
    expected = _brute(score, eligible, count, ids)
    assert torch.equal(chosen.bool(), expected)
    assert set(chosen.unique().tolist()) <= {0.0, 1.0}
    flat_ids = np.repeat(ids.numpy(), length)
    twin = first_by_key_numpy(
        score.flatten(), eligible.flatten(), count, flat_ids, np.tile(np.arange(length), rows)
    )
    assert np.array_equal(twin, expected.flatten().numpy())


@EITHER_WAY
@pytest.mark.parametrize("distinct", [3, 50, 10**9])
@pytest.mark.parametrize("limit", [1, 7, 40])
def test_blocks_hold_the_highest(sorts, limit, distinct):
    rng = np.random.default_rng(limit)
    score = torch.from_numpy(rng.integers(0, distinct, (7, 1003)).astype(np.float64))
    eligible = torch.from_numpy(rng.random((7, 1003)) < 0.9)
    assert limit * 128 < score.numel(), "the block path is taken"
    with _way(sorts):
        chosen = top_by_score(score, eligible.double(), torch.tensor(limit), limit, torch.arange(7))
    assert torch.equal(chosen.bool(), _brute(score, eligible, limit, torch.arange(7)))


@pytest.mark.parametrize("distinct", [3, 10**9])
def test_rows_in_order_need_no_ids_and_both_ways_agree(distinct):
    rng = np.random.default_rng(distinct)
    key = torch.from_numpy(rng.integers(0, distinct, (40, 2000)).astype(np.float64))
    key[rng.random(key.shape) < 0.3] = -torch.inf
    found = []
    for sorts in (False, True):
        for ids in (None, torch.arange(40)):
            with _way(sorts):
                found.append(first_by_key(key, torch.tensor(1100), 1200, ids))
    for rows, counts in found:
        assert torch.equal(rows, found[0][0])
        assert counts.sum() == 1100
        assert len(rows[~counts].unique()) == 100


def test_fewer_eligible_tokens_than_the_count():
    score, eligible = torch.tensor([[3.0, 1.0, 2.0]]), torch.tensor([[0.0, 1.0, 0.0]])
    assert top_by_score(score, eligible, torch.tensor(3), 3, torch.zeros(1).long()).tolist() == [
        [0.0, 1.0, 0.0]
    ]
    assert top_by_score(score, 0 * eligible, torch.tensor(3), 3, torch.zeros(1).long()).tolist() == [
        [0.0, 0.0, 0.0]
    ]


def test_zero_and_minus_zero_tie():
    score = torch.tensor([[0.0, -0.0, -1.0]])
    assert top_by_score(score, torch.ones(1, 3), torch.tensor(1), 1, torch.zeros(1).long()).tolist() == [
        [1.0, 0.0, 0.0]
    ]
    assert top_by_score(-score, torch.ones(1, 3), torch.tensor(2), 2, torch.zeros(1).long()).tolist() == [
        [1.0, 0.0, 1.0]
    ]


# --- the hash


def test_hash_is_pinned():
    got = hashing.token_hash([0, 1, 2**40, -7], [0, 5, 4095, 17], seed=3, step=11)
    assert got.tolist() == [12312112, 16336749, 11655995, 6552407]


def _plain_hash(sample_id, position, seed, step):
    """The same in Python integers of any size, written from the description."""

    def mix(x):
        x ^= x >> 16
        x = x * 0x21F0AAAD % 2**32
        x ^= x >> 15
        x = x * 0x735A2D97 % 2**32
        return x ^ (x >> 16)

    def signed(x):
        return (x + 2**31) % 2**32 - 2**31

    key = 0
    for number in (seed, step):
        key = mix(key ^ (number % 2**32) ^ 0x9E3779B1)
        key = mix(key ^ (number >> 32) % 2**32)
    row = (sample_id % 2**32 ^ key) * 0x21F0AAAD % 2**32
    row = (row ^ (row >> 16) ^ (sample_id >> 32) % 2**32) * 0x735A2D97 % 2**32
    row ^= row >> 15
    x = signed((row ^ position * 0x9E3779B1 % 2**32) * 0x21F0AAAD)
    x = signed((x ^ (x >> 15)) * 0x735A2D97)
    return 2**23 - 1 - (x >> 8)


@pytest.mark.parametrize(("seed", "step"), [(0, 0), (1, 0), (0, 1), (-3, 2**40), (2**63, 7)])
def test_torch_numpy_and_plain_integers_agree(seed, step):
    ids = torch.tensor([0, 1, 2, 2**31, 2**32, 2**63 - 1, -1, -(2**63)])
    device = token_hash(ids, torch.arange(33), seed=seed, step=step)
    rows, columns = np.repeat(ids.numpy(), 33), np.tile(np.arange(33), 8)
    twin = hashing.token_hash(rows, columns, seed=seed, step=step)
    plain = [_plain_hash(int(r), int(c), seed, step) for r, c in zip(rows, columns, strict=True)]
    assert device.flatten().tolist() == twin.tolist() == plain
    assert 0 <= min(plain) <= max(plain) < 2**24


def test_hash_is_uniform_and_free_of_rows_columns_seeds_and_steps():
    rows, columns = np.repeat(np.arange(256), 512), np.tile(np.arange(512), 256)
    base = hashing.token_hash(rows, columns, seed=0, step=0)
    counts = np.bincount(base >> 16, minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-3
    assert stats.chisquare(np.bincount(base & 255, minlength=256)).pvalue > 1e-3
    table = base.reshape(256, 512)
    smallest = table < 2**24 * 0.02
    for axis in (0, 1):  # the number chosen in a row or a column is binomial
        chosen, n = smallest.sum(axis), smallest.shape[axis]
        assert 0.7 < chosen.var() / (n * 0.02 * 0.98) < 1.3
    others = [
        hashing.token_hash(rows, columns, seed=1, step=0),
        hashing.token_hash(rows, columns, seed=0, step=1),
        np.roll(table, 1, 0).ravel(),
        np.roll(table, 1, 1).ravel(),
    ]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 0.015
        both = (base < 2**24 * 0.1) & (other < 2**24 * 0.1)
        assert abs(both.mean() - 0.01) < 0.0015


def test_a_draw_is_the_smallest_hashes_whatever_the_layout():
    ids = torch.tensor([5, 900, 17])
    eligible = (torch.arange(3 * 40).view(3, 40) % 3 != 0).float()
    chosen = _drawn(eligible, 9, 12, ids, seed=4, step=2)
    hashes = hashing.token_hash(np.repeat(ids.numpy(), 40), np.tile(np.arange(40), 3), seed=4, step=2)
    allowed = np.flatnonzero(eligible.flatten().numpy())
    expected = allowed[np.argsort(hashes[allowed])[:9]]
    assert sorted(expected) == chosen.flatten().nonzero().flatten().tolist()
    rows, columns = np.divmod(allowed, 40)
    twin = first_by_hash(np.ones(len(allowed)), 9, ids.numpy()[rows], columns, seed=4, step=2)
    assert np.array_equal(allowed[twin], np.sort(expected))


def test_every_token_is_drawn_equally_often():
    eligible = torch.ones(4, 25)
    ids = torch.arange(4)
    drawn = sum(_drawn(eligible, 10, 10, ids, seed=0, step=s).long() for s in range(2000))
    assert drawn.sum() == 20_000
    assert stats.chisquare(drawn.flatten().numpy()).pvalue > 1e-3


# --- how many


@pytest.mark.parametrize(
    ("fraction", "n", "expected"),
    [(2e-4, 512, 1), (2e-4, 1000, 1), (2e-4, 9999, 1), (2e-4, 10_000, 2), (2e-3, 500, 1), (0.29, 100, 28)],
)
def test_budget_is_the_floor_and_at_least_one(fraction, n, expected):
    budget = TokenBudget(fraction)
    assert budget.of(n) == expected == int(budget.of_tensor(torch.tensor(n)))


@given(st.floats(1e-5, 0.99), st.integers(0, 10**7), st.integers(0, 3))
def test_budget_is_the_same_on_the_device(fraction, n, minimum):
    budget = TokenBudget(fraction, minimum=minimum)
    assert budget.of(n) == int(budget.of_tensor(torch.tensor(n))) <= n


def test_budget_of_a_count():
    budget = TokenBudget(count=12)
    assert [budget.of(n) for n in (0, 5, 100)] == [0, 5, 12]
    assert [int(budget.of_tensor(torch.tensor(n))) for n in (0, 5, 100)] == [0, 5, 12]


# --- rows of the chosen tokens


def test_rows_come_in_the_order_of_ids_and_positions_and_fillers_do_not_count():
    key = torch.tensor([[1.0, 5.0, -torch.inf], [7.0, 0.0, 5.0]])
    rows, counts = first_by_key(key, torch.tensor(3), 5, torch.tensor([9, 4]))
    assert rows[counts].tolist() == [3, 5, 1]
    assert len(rows) == 5
    assert counts.sum() == 3
    rows, counts = first_by_key(torch.full((3, 4), -torch.inf), torch.tensor(2), 2, torch.arange(3))
    assert not counts.any()
    assert (rows < 12).all()


@pytest.mark.parametrize("length", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("levels", [1, 2, 5, 10**6])
def test_units_give_the_sorted_list_whatever_the_ties(length, levels):
    rng = np.random.default_rng(length + levels)
    key = torch.from_numpy(rng.integers(0, levels, (40, length)).astype(np.float32))
    key[torch.from_numpy(rng.random((40, length)) < 0.3)] = -torch.inf
    ids = torch.from_numpy(rng.permutation(40).astype(np.int64))
    for count, limit in ((0, 3), (1, 1), (3, 3), (20, 25), (10, 400)):
        limit = min(limit, key.numel())
        chosen = mark_rows(*first_by_key(key, torch.tensor(count), limit, ids), key.shape)
        assert torch.equal(chosen, _brute(key, key > -torch.inf, count, ids))
