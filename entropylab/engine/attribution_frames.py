"""The tables of `attribute` from merged counts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np
import pandas as pd

from ..analysis.attribution import ALL, SELECTED, TAIL
from ..analysis.attribution_bins import bin_frame, ranked_prompts
from ..analysis.attribution_intervals import MIN_COUNT, enrichment_row, share_bounds
from ..analysis.attribution_tables import most_frequent, position_bins, token_frame, with_bounds
from ..analysis.quadrants import quadrant_frame
from ..record.bit_counts import UpperCounts, highest, mean_of_sum
from ..schema import QUADRANTS
from .attribution_cells import CellCounts
from .attribution_rows import Edges
from .attribution_tasks import Lowers, StepPrompts, StepTables
from .attribution_totals import RANKED, SUMMED, IdCounts, Totals

SETS = (ALL, SELECTED, TAIL)
"""The sets in the order in which the workers count them."""

CHOSEN = tuple((s, name) for s, name in enumerate(SETS) if name != ALL)


def quadrant_rows(tables: StepTables, level: float) -> pd.DataFrame:
    """`quadrants_of`."""
    cells, masses = tables.cells["quadrant"], tables.totals.masses
    sums = {
        name: (cells.total[s], np.array([mean_of_sum(mass, 1) for mass in masses[s]]))
        for s, name in enumerate(SETS)
    }
    bounds = [_bounds(cells, s, q, level) for s in range(len(SETS)) for q in range(len(QUADRANTS))]
    return with_bounds(quadrant_frame(sums), bounds)


def _bounds(cells: CellCounts, which: int, cell: int, level: float) -> tuple[float, float]:
    size = cells.size(which)
    if not size:
        return np.nan, np.nan
    p = int(cells.total[which, cell]) / size
    return share_bounds(p, cells.share_error(which, cell), int(cells.held[which]), level)


def position_rows(totals: Totals) -> pd.DataFrame:
    """`position_table`."""
    return position_bins({name: totals.positions[:, s] for s, name in enumerate(SETS)})


def listed_ids(ids: IdCounts) -> dict[str, list[int]]:
    """The most frequent ids of the selected and of the tail."""
    found = {}
    for s, name in CHOSEN:
        held = ids.count[s] > 0
        found[name] = most_frequent(ids.ids[held], ids.count[s, held]).tolist()
    return found


def token_rows(
    cells: CellCounts,
    listed: Mapping[str, list[int]],
    ids: Sequence[int],
    vocabulary: Sequence[str] | None,
    level: float,
) -> pd.DataFrame:
    """`token_table` of the listed ids; ``ids``: those of the cells."""
    rows = [
        {"set": name, "token_id": token} | _enrichment(cells, s, ids.index(token), level)
        for s, name in CHOSEN
        for token in listed[name]
    ]
    return token_frame(rows, vocabulary)


def bin_rows(cells: Mapping[str, CellCounts], edges: Edges, level: float) -> pd.DataFrame:
    """`bin_table`."""
    rows = []
    for quantity, edge in edges.items():
        counts = cells[quantity]
        for s, name in CHOSEN:
            for i, (low, high) in enumerate(pairwise(edge)):
                if counts.size(s) and counts.total[0, i]:
                    place = {"set": name, "quantity": quantity, "bin_low": low, "bin_high": high}
                    rows.append(place | _enrichment(counts, s, i, level))
    return bin_frame(rows)


def _enrichment(cells: CellCounts, which: int, cell: int, level: float) -> dict[str, float]:
    both = int(cells.total[which, cell])
    error = cells.enrichment_error(which, cell) if both >= MIN_COUNT else None
    return enrichment_row(cells.size(0), cells.size(which), both, int(cells.total[0, cell]), error, level)


def prompt_rows(prompts: Sequence[StepPrompts]) -> pd.DataFrame:
    """`prompt_table`, from the prompts of each step in the order of the steps."""
    counts = np.concatenate([p.counts for p in prompts])
    table = pd.DataFrame(
        {
            "step": np.repeat(np.array([p.step for p in prompts], np.int32), [len(p.ids) for p in prompts]),
            "prompt_id": np.concatenate([p.ids for p in prompts]),
            "tokens": counts[:, 0],
            TAIL: counts[:, 2],
            SELECTED: counts[:, 1],
        }
    )
    return ranked_prompts(table, [TAIL, SELECTED])


def probability_rows(tables: StepTables, lowers: Lowers) -> pd.DataFrame:
    """`probability_table`."""
    totals = tables.totals
    rows = []
    for s, name in enumerate(SETS):
        n = tables.cells["quadrant"].size(s)
        upper = dict(zip(RANKED, totals.upper[s], strict=True))
        lower = dict(zip(RANKED, lowers[s], strict=True))
        known = {c: upper["entropy"].n if c == "entropy" else n for c in SUMMED}
        mean = {c: mean_of_sum(total, known[c]) for c, total in zip(SUMMED, totals.sums[s], strict=True)}
        middle = {c: [highest(upper[c], lower[c], k) for k in middle_places(upper[c])] for c in RANKED}
        row: dict[str, object] = {"set": name, "n": n}
        row |= {
            "probability_mean": mean["probability"],
            "probability_median": _mean(np.exp(middle["logprob"])),
        }
        row |= {"entropy_mean": mean["entropy"], "entropy_median": _mean(np.array(middle["entropy"]))}
        rows.append(row | {f"{c}_mean": mean[c] for c in ("logprob", "advantage", "covariance")})
    return pd.DataFrame(rows)


def middle_places(upper: UpperCounts) -> list[int]:
    """k of the k-th highest values whose mean is the median; none of no value."""
    return [(upper.n + 1) // 2, upper.n // 2 + 1] if upper.n else []


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else float("nan")
