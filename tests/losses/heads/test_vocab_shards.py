"""Real processes over gloo that split the vocabulary give what one process gives, all the same bits."""

from __future__ import annotations

import itertools

import pytest
import torch
from shard_jobs import run

import entropylab as el

SPLITS = {2: (0, 21, 40), 4: (0, 3, 25, 26, 40)}
"""Uneven, one of a single token."""
CASES = {
    2: [(torch.float32, {"softcap": 4.0}), (torch.float64, {}), (torch.float64, {"chunk_rows": 20})],
    4: [(torch.float32, {}), (torch.float64, {"temperature": 0.7, "softcap": 4.0, "chunk_rows": 20})],
}
CLOSE = {torch.float32: 1e-6, torch.float64: 1e-12}


def _jobs(bounds, cases, make_head):
    """One list of jobs a rank."""
    heads = {dtype: make_head(3, 17, 6, 40, dtype=dtype, scale=0.5) for dtype in CLOSE}
    rows = [(a, b, bounds[-1]) for a, b in itertools.pairwise(bounds)]
    return [[{"rows": one, "head": heads[x], "settings": y} for x, y in cases] for one in rows]


@pytest.mark.quick("2")
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("world_size", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_any_split_equals_one_process(world_size, start_ranks, make_head, tmp_path):
    jobs = _jobs(SPLITS[world_size], CASES[world_size], make_head)
    every = start_ranks(run, tmp_path, jobs)
    (whole,) = _jobs((0, 40), CASES[world_size], make_head)
    for index, job in enumerate(whole):
        _check([of_rank[index] for of_rank in every], run(job), CLOSE[job["head"].hidden.dtype])


def _check(ranks, expected, close):
    for name, value in expected.items():
        found = [one[name] for one in ranks]
        if name.endswith(("d weight", "d bias")):
            found = [torch.cat(found)]
        assert all(torch.equal(one, found[0]) for one in found), name
        if value.is_floating_point():
            scale = max(1.0, float(value.abs().max()))
            torch.testing.assert_close(found[0], value, rtol=close, atol=close * scale, msg=name)
        else:
            assert torch.equal(found[0], value), name


@pytest.mark.parametrize("sizes", [(20_000, 30_000), (1, 131_071)])
def test_every_process_cuts_the_same_chunks(sizes, monkeypatch):
    """Or their sums would not meet: the rows at once follow from the whole vocabulary alone."""
    from entropylab.losses.heads.head import HeadSettings, make_head

    monkeypatch.setattr(torch.distributed, "get_world_size", lambda group: 2)
    hidden, starts = torch.zeros(1, 1), (0, sizes[0])
    cut = [
        make_head(
            hidden, torch.zeros(size, 1), None, HeadSettings(shard=el.VocabShard(start, sum(sizes)))
        ).chunk_rows
        for start, size in zip(starts, sizes, strict=True)
    ]
    assert cut[0] == cut[1]
