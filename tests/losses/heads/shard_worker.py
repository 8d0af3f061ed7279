"""A rank that holds a part of the vocabulary."""

from __future__ import annotations

from rank_process import run_rank
from shard_jobs import run

if __name__ == "__main__":
    run_rank(run)
