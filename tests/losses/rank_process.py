"""One rank of a gloo group: runs a function on its jobs and writes what it found."""

from __future__ import annotations

import os
import traceback
from pathlib import Path

import torch
from torch import distributed


def run_rank(of_job, folder, rank, world_size):
    """The body of a rank's process: results, or the error as text, go into a file of its own."""
    folder = Path(folder)
    torch.set_num_threads(1)
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world_size
    )
    jobs = torch.load(folder / f"jobs-{rank}.pt", weights_only=False)
    try:
        results = [of_job(job) for job in jobs]
    except BaseException:
        (folder / f"error-{rank}.txt").write_text(traceback.format_exc())
        os._exit(1)
    torch.save(results, folder / f"results-{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
    os._exit(0)  # gloo's own threads may outlive the group and abort the interpreter's teardown
