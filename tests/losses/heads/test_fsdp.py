"""Under FSDP2, in two real processes: the gradients of a sharded head are those of one process."""

from __future__ import annotations

import pytest
import torch
from fsdp_model import SEAMS, Model, loss_of, run

LOSSES = ("op", "plain", "chosen")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_seam_equals_one_process(start_ranks, make_head, tmp_path):
    head = make_head(4, 17, biased=False)
    torch.manual_seed(0)
    weights = Model(None).state_dict()
    jobs = [
        {"head": head, "weights": weights, "seam": seam, "loss": loss}
        for seam in (*SEAMS, "not gathered")
        for loss in LOSSES
    ]
    for job, *ranks in zip(jobs, *start_ranks(run, tmp_path, [jobs, jobs]), strict=True):
        if job["seam"] == "not gathered":
            assert all("weight is a DTensor" in error and "unshard()" in error for error in ranks)
            continue
        _check(ranks, _mean_over_ranks(job, len(ranks)))


def _mean_over_ranks(job, world_size):
    """FSDP averages the gradients of the ranks' losses."""
    model = Model(job["weights"])
    for rank in range(world_size):
        rows = slice(rank, None, world_size)
        model(job["head"].hidden.detach()[rows], loss_of(job, rows)).backward()
    return {name: one.grad / world_size for name, one in model.named_parameters()}


def _check(ranks, expected):
    for found in ranks:
        assert found.keys() == expected.keys()
        for name, value in expected.items():
            torch.testing.assert_close(found[name], value, rtol=1e-11, atol=1e-14)
