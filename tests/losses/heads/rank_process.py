"""One rank of a gloo group: runs a function on its jobs and writes what it found."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch
from torch import distributed


def run_rank(of_job):
    """Called by a worker script with (folder, rank, world size) as arguments."""
    folder, rank, world_size = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world_size
    )
    jobs = torch.load(folder / f"jobs-{rank}.pt", weights_only=False)
    torch.save([of_job(job) for job in jobs], folder / f"results-{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    sys.stderr.flush()
    os._exit(0)  # gloo's own threads may outlive the group and abort the interpreter's teardown
