"""A rank that holds a part of every parameter."""

from __future__ import annotations

from fsdp_model import run
from rank_process import run_rank

if __name__ == "__main__":
    run_rank(run)
