"""One rank of a gloo group: reads its share of each job, chooses with the others, writes what it found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import distributed

from entropylab.errors import EntropylabError
from entropylab.losses.collective import select_tokens
from entropylab.losses.policy_loss import policy_loss

NAMES = ("logprobs", "old_logprobs", "advantages", "mask")


def run(job: dict, group: object) -> dict:
    """Selection, summed loss and gradients of this rank's micro-batches."""
    pieces, control = job["pieces"], job["control"]
    columns = [[piece[name] for piece in pieces] for name in NAMES]
    shared = {"surrogate": job["surrogate"], "seed": job["seed"], "step": job["step"]}
    ids = [piece["sample_ids"] for piece in pieces]
    try:
        selection = select_tokens(control, *columns, sample_ids=ids, group=group, **shared)
    except EntropylabError as error:
        return {"error": f"{type(error).__name__}: {error}"}
    total, gradients = 0.0, []
    for piece in pieces:
        leaf = piece["logprobs"].clone().requires_grad_()
        loss = policy_loss(
            leaf,
            *(piece[name] for name in NAMES[1:]),
            control=control,
            surrogate=job["surrogate"],
            ref_logprobs=piece["ref_logprobs"],
            sample_ids=piece["sample_ids"],
            selection=selection,
            denominator=job["denominator"],
        ).loss
        loss.backward()
        total += float(loss.detach())
        gradients.append(leaf.grad)
    found = {name: getattr(selection, name) for name in job["compared"]}
    return {"selection": found, "loss": total, "gradients": gradients}


def main(folder: str, rank: int, world_size: int) -> None:
    """Run all jobs of the folder as one rank."""
    torch.set_num_threads(1)
    place = Path(folder)
    distributed.init_process_group(
        "gloo", init_method=f"file://{place / 'meeting'}", rank=rank, world_size=world_size
    )
    jobs = torch.load(place / f"jobs-{rank}.pt", weights_only=False)
    results = [run(job, distributed.group.WORLD) for job in jobs]
    torch.save(results, place / f"results-{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    os._exit(0)  # gloo's own threads may outlive the group and abort the interpreter's teardown


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
