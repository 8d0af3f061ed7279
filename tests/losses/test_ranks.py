"""Real processes over gloo: any layout of ranks and micro-batches chooses what one process chooses."""

from __future__ import annotations

import itertools

import pytest
import torch
from rank_jobs import run

from entropylab.errors import InvalidInputError, MissingInputError
from entropylab.losses.candidates import Candidates, first_of, unpacked
from entropylab.losses.collective import select_tokens
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.random_clip import RandomClip
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import ImportanceSampling, PPOClip

COMPARED = ("sample_ids", "positions", "count", "mean_logprob", "mean_advantage", "threshold")
NAMES = ("logprobs", "old_logprobs", "advantages", "mask", "ref_logprobs")
IDS = torch.tensor([31, 4, 100, 7, 2**45, 6, -3, 77, 5, 12, 13, 60])

CONTROLS = [
    ClipCov(fraction=0.03, low=0.2, high=4.0),
    ClipCov(fraction=0.03, low=0.2, high=4.0, covariance_on="old"),
    ClipCov(fraction=0.01, low=3.0, high=3.5),
    ClipCov(fraction=0.03, select="top", action="detach"),
    RandomClip(fraction=0.05),
    KLCov(fraction=0.03),
    KLCov(fraction=0.2, covariance_on="old"),
    KLCov(count=17, divergence="k3", weight="selected_mean", reference="ref"),
    KLCov(count=100_000),
]
"""Among them: a band with fewer candidates than k, and a count beyond all tokens."""

LAYOUTS = {
    2: [
        [[[0, 1, 2, 3, 4, 5]], [[6, 7, 8, 9, 10, 11]]],
        [[[11], [3, 5], [0]], [[1, 2, 4, 6, 7, 8, 9, 10]]],
        [[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9], [10, 11]], [[]]],
    ],
    3: [
        [[[7, 1], [2]], [[0]], [[3, 4, 5], [6, 8, 9, 10], [11]]],
        [[[2]], [[0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]], [[]]],
    ],
}
"""For each number of ranks: the rows of each rank's micro-batches. Row 2 has no valid token."""


def _batch(kind, make_tokens):
    dtype = torch.float32 if kind in ("ties", "fp32", "offset") else torch.float64
    tokens = make_tokens(12, 50, seed=6, dtype=dtype)
    batch = {name: getattr(tokens, name).detach().clone() for name in NAMES}
    batch["mask"][2] = False
    batch["sample_ids"] = IDS
    if kind == "ties":
        for name in ("logprobs", "old_logprobs", "advantages"):
            batch[name] = batch[name].round()
    if kind == "offset":
        for name in ("logprobs", "old_logprobs", "ref_logprobs", "advantages"):
            batch[name] = batch[name] + 1e4
    return batch


def _part(batch, rows):
    """Rows of the batch, cut to their longest response and filled with garbage beyond it."""
    rows = torch.tensor(rows, dtype=torch.int64)
    part = {name: value[rows].clone() for name, value in batch.items()}
    length = int(part["mask"].sum(1).max()) + 3 if len(rows) else 7
    for name in NAMES:
        part[name] = part[name][:, :length]
    return part


@pytest.fixture
def start(start_ranks):
    """Run jobs of all ranks in processes of their own; gives the results of each rank."""
    return lambda folder, jobs: start_ranks(run, folder, jobs)


def _surrogate(control):
    return ImportanceSampling() if isinstance(control, KLCov) else PPOClip(0.2, 0.2)


def _settings(control, batch):
    return {
        "control": control,
        "surrogate": _surrogate(control),
        "seed": 3,
        "step": 8,
        "compared": COMPARED,
        "denominator": int(batch["mask"].sum()),
    }


@pytest.mark.quick("3")
@pytest.mark.slow
@pytest.mark.parametrize("world_size", [2, 3])
def test_any_layout_equals_one_process(world_size, start, make_tokens, tmp_path):
    """Every control on every kind of values, the layouts in turn, so that each meets all of both."""
    kinds = ("fp64", "fp32", "ties", "offset")
    layouts = LAYOUTS[world_size]
    cases = [
        (kind, control, layouts[(i + j) % len(layouts)])
        for (i, kind), (j, control) in itertools.product(enumerate(kinds), enumerate(CONTROLS))
    ]
    batches = {kind: _batch(kind, make_tokens) for kind in kinds}
    jobs = [
        [
            {**_settings(control, batches[kind]), "pieces": [_part(batches[kind], x) for x in layout[rank]]}
            for kind, control, layout in cases
        ]
        for rank in range(world_size)
    ]
    results = start(tmp_path, jobs)
    for index, (kind, control, layout) in enumerate(cases):
        ranks = [of_rank[index] for of_rank in results]
        _check(batches[kind], control, layout, ranks)


def _check(batch, control, layout, ranks):
    columns = [batch[name] for name in NAMES[:4]]
    leaf = columns[0].clone().requires_grad_()
    shared = {"sample_ids": IDS, "surrogate": _surrogate(control), "seed": 3, "step": 8}
    alone = select_tokens(control, *columns, **shared)
    whole = policy_loss(leaf, *columns[1:], control=control, ref_logprobs=batch["ref_logprobs"], **shared)
    whole.loss.backward()
    k = int(alone.count)
    assert torch.equal(alone.mask(IDS, 50), whole.tokens["selected"])
    for rank in ranks:
        assert "error" not in rank, rank
        found = rank["selection"]
        for name in COMPARED[:2]:
            assert torch.equal(found[name][:k], getattr(alone, name)[:k]), (control, name)
        for name in COMPARED[2:]:
            assert torch.equal(found[name], getattr(alone, name)), (control, name)
    tight = {"rtol": 1e-10, "atol": 1e-12} if leaf.dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-6}
    loss = torch.tensor(sum(rank["loss"] for rank in ranks), dtype=torch.float64)
    torch.testing.assert_close(loss.to(leaf.dtype), whole.loss.detach(), **tight)
    for rank, rows_of_rank in zip(ranks, layout, strict=True):
        for gradient, rows in zip(rank["gradients"], rows_of_rank, strict=True):
            expected = leaf.grad[torch.tensor(rows, dtype=torch.int64)][:, : gradient.shape[1]]
            torch.testing.assert_close(gradient, expected, **tight)


@pytest.mark.slow
def test_a_fault_on_one_rank_is_an_error_on_all(start, make_tokens, tmp_path):
    batch = _batch("fp64", make_tokens)
    control = KLCov(fraction=0.03)

    def jobs_of(change):
        jobs = [{**_settings(control, batch), "pieces": [_part(batch, rows)]} for rows in ([0, 1, 2], [3, 4])]
        change(jobs)
        return jobs

    def nan(jobs):
        jobs[1]["pieces"][0]["logprobs"][0, 0] = float("nan")

    def other_step(jobs):
        jobs[1]["step"] = 9

    def empty(jobs):
        for job in jobs:
            job["pieces"][0]["mask"][:] = False

    def same_ids(jobs):
        jobs[1]["pieces"][0]["sample_ids"] = jobs[0]["pieces"][0]["sample_ids"][:2]
        for name in NAMES:
            jobs[1]["pieces"][0][name] = jobs[0]["pieces"][0][name][:2]

    def one_id_in_common(jobs):
        """An id of a response without any valid token, so that no token could be chosen twice."""
        jobs[1]["pieces"][0]["sample_ids"][0] = jobs[0]["pieces"][0]["sample_ids"][2]

    changes = (nan, other_step, empty, same_ids, one_id_in_common)
    per_case = [jobs_of(change) for change in changes]
    first, second = start(tmp_path, [[case[rank] for case in per_case] for rank in range(2)])
    expected = [
        ("failed on rank 1", r"logprobs\[0, 0\] is nan"),
        ("seed and step on every rank", "seed and step on every rank"),
        ("mask is empty on every rank", "mask is empty on every rank"),
        (r"holds 4 on more than one rank \(2 such ids\)", r"holds 4 on more than one rank \(2 such ids\)"),
        ("holds 100 on more than one rank", "holds 100 on more than one rank"),
    ]
    for (on_first, on_second), a, b in zip(expected, first, second, strict=True):
        with pytest.raises(InvalidInputError, match=on_first):
            raise InvalidInputError(a["error"])
        with pytest.raises(InvalidInputError, match=on_second):
            raise InvalidInputError(b["error"])


def test_a_group_needs_ids(make_tokens):
    tokens = make_tokens(3, 9)
    columns = (tokens.logprobs, tokens.old_logprobs, tokens.advantages, tokens.mask)
    with pytest.raises(MissingInputError, match="needs sample_ids="):
        select_tokens(KLCov(), *columns, group=object())


@pytest.mark.parametrize("n_parts", [1, 2, 5])
def test_candidates_of_parts_give_the_sorted_list(n_parts):
    g = torch.Generator().manual_seed(n_parts)
    keys = torch.randint(0, 5, (60,), generator=g).double()
    ids, positions = torch.randint(-9, 9, (60,), generator=g), torch.randperm(60, generator=g)
    every = Candidates(keys, ids, positions, keys + 0.5)
    words = torch.cat([every.at(part).packed(70) for part in torch.arange(60).chunk(n_parts)])
    assert words.dtype == torch.int64
    for count in (0, 1, 13, 60, 99):
        found = first_of(unpacked(words), torch.tensor(count), 64)
        order = sorted(range(60), key=lambda i: (-float(keys[i]), int(ids[i]), int(positions[i])))[:count]
        expected = sorted((int(ids[i]), int(positions[i])) for i in order)
        real = found.keys > -torch.inf
        pairs = list(zip(found.sample_ids[real].tolist(), found.positions[real].tolist(), strict=True))
        assert pairs == expected
        assert not real[len(pairs) :].any()
