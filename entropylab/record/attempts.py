"""Which attempt of a rank comes next in a folder."""

from __future__ import annotations

from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq

from .paths import (
    COMPACTED,
    EVALUATIONS,
    MARKERS,
    RESPONSES,
    TOKENS,
    parse_evaluation_file,
    parse_open_file,
    parse_rank_file,
)


def last_attempt(folder: Path, rank: int) -> int:
    """The highest attempt of any file of this rank in the folder, 0 where there is none.

    Evaluations bear no rank: rank 0, which writes them, counts them as its own.
    """
    found = [0, _last_compacted(folder, rank)]
    for kind in (TOKENS, RESPONSES, MARKERS):
        for name in _names(folder / kind):
            parsed = parse_rank_file(name) or parse_open_file(name)
            if parsed is not None and parsed[0] == rank:
                found.append(parsed[1])
    if rank == 0:
        found += [parse_evaluation_file(name) or 0 for name in _names(folder / EVALUATIONS)]
    return max(found)


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.rglob("*")] if folder.is_dir() else []


def _last_compacted(folder: Path, rank: int) -> int:
    """The highest attempt among a rank's compacted markers; evaluations bear no rank and count for all."""
    found = [0]
    for kind in (MARKERS, EVALUATIONS):
        path = folder / kind / f"{COMPACTED}.parquet"
        if path.is_file():
            table = pq.read_table(path)
            if kind == MARKERS:
                table = table.filter(pc.equal(table["rank"], rank))
            found.append(pc.max(table["attempt"]).as_py() or 0)
    return max(found)
