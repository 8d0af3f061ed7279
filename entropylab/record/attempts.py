"""Which attempt of a rank comes next in a folder."""

from __future__ import annotations

import pyarrow.compute as pc
import pyarrow.parquet as pq

from .files import Location, list_files, parquet_source
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


def last_attempt(folder: Location, rank: int) -> int:
    """The highest attempt of any file of this rank in the folder, 0 where there is none.

    Evaluations bear no rank: rank 0, which writes them, counts them as its own.
    """
    listing = list_files(folder, (TOKENS, RESPONSES, MARKERS, EVALUATIONS))
    if listing.unreadable:
        raise next(iter(listing.unreadable.values()))
    found = [0, _last_compacted(folder, rank, listing.names)]
    for path in listing.names:
        kind, name = path.split("/", 1)[0], path.rsplit("/", 1)[-1]
        if kind == EVALUATIONS:
            found.append((parse_evaluation_file(name) or 0) if rank == 0 else 0)
            continue
        parsed = parse_rank_file(name) or parse_open_file(name)
        if parsed is not None and parsed[0] == rank:
            found.append(parsed[1])
    return max(found)


def _last_compacted(folder: Location, rank: int, names: list[str]) -> int:
    """The highest attempt among a rank's compacted markers; evaluations bear no rank and count for all."""
    found = [0]
    for kind in (MARKERS, EVALUATIONS):
        name = f"{kind}/{COMPACTED}.parquet"
        if name in names:
            table = pq.read_table(parquet_source(folder / name))
            if kind == MARKERS:
                table = table.filter(pc.equal(table["rank"], rank))
            found.append(pc.max(table["attempt"]).as_py() or 0)
    return max(found)
