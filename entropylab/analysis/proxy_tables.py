"""Tables of an audit of proxies: figures over token sets, intervals by prompts, quadrants and groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, t as student

from ..record.summary import top_count
from ..schema import QUADRANTS
from .cluster_bootstrap import Floats
from .prompt_units import prompt_units
from .proxy_rankings import (
    CONTROL,
    FIGURES,
    PREDICTIONS,
    chosen_parts,
    lowest,
    pooled,
    predictions_of,
    ranked_parts,
)

BLOCKS = 20
"""Blocks of prompts of the jackknife."""
ENTROPY_BINS = 4
LEAST = 20
"""Fewest tokens of a group in a set that are ranked."""
ROWS = (*PREDICTIONS, CONTROL)


@dataclass(frozen=True)
class SetFigures:
    """One token set: parts [row, figure, 2] of the figures of its tokens, and without each block of prompts.

    `whole`: rows as ROWS, see `pooled`; `without`: [block, row, figure, 2].
    """

    step: int
    n_tokens: int
    whole: Floats
    without: Floats

    def without_block(self, block: int) -> Floats:
        """Figures without one block; those of the whole set where it has no such block."""
        return self.without[block] if block < len(self.without) else self.whole


def set_figures(tokens: pd.DataFrame, fraction: float) -> SetFigures:
    """What each quantity ranks and chooses in a set of tokens, and what the control chose."""
    influence = tokens["influence"].to_numpy(np.float64)
    predictions, selected = predictions_of(tokens), tokens["selected"].to_numpy(bool)
    blocks = _blocks(tokens)

    def of(kept: NDArray[np.bool_]) -> Floats:
        ranked = ranked_parts(influence[kept], predictions[:, kept], fraction)
        return np.concatenate([ranked, chosen_parts(influence[kept], selected[kept])[None]])

    without = np.stack([of(blocks != block) for block in range(int(blocks.max()) + 1)])
    whole = of(np.ones(len(tokens), dtype=bool))
    return SetFigures(int(tokens["step"].iloc[0]), len(tokens), whole, without)


def _blocks(tokens: pd.DataFrame) -> NDArray[np.intp]:
    """The block of each token's prompt, or response where prompts are not known."""
    ids = prompt_units(tokens["prompt_id"].to_numpy(), tokens["sample_id"].to_numpy())
    codes = pd.factorize(ids)[0]
    return codes % min(BLOCKS, int(codes.max()) + 1)


def proxy_table(found: Sequence[SetFigures], level: float) -> pd.DataFrame:
    """One row a quantity: each figure over all sets (`pooled`), its interval by a jackknife over prompts.

    Quantities that no set can rank have no row.
    """
    whole = pooled([one.whole for one in found])
    count = max(len(one.without) for one in found)
    half = np.full_like(whole, np.nan)
    if count > 1:
        without = np.stack([pooled([one.without_block(g) for one in found]) for g in range(count)])
        spread = np.sqrt((count - 1) / count * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
        half = student.ppf((1 + level) / 2, count - 1) * spread
    rows = pd.DataFrame({"proxy": ROWS} | dict(zip(FIGURES, whole.T, strict=True)))
    for i, (name, bounds) in enumerate(FIGURES.items()):
        rows[f"{name}_low"] = np.clip(whole[:, i] - half[:, i], *bounds)
        rows[f"{name}_high"] = np.clip(whole[:, i] + half[:, i], *bounds)
    return rows[np.isfinite(whole).any(axis=1)].reset_index(drop=True)


def step_table(found: Sequence[SetFigures], level: float) -> pd.DataFrame:
    """`proxy_table` of each step alone, one below the other, ``step`` first."""
    by_step: dict[int, list[SetFigures]] = {}
    for one in found:
        by_step.setdefault(one.step, []).append(one)
    tables = {step: proxy_table(members, level) for step, members in by_step.items()}
    return pd.concat(tables, names=["step"]).reset_index(level="step").reset_index(drop=True)


def quadrant_shares(sets: Sequence[pd.DataFrame], fraction: float) -> pd.DataFrame:
    """One row a quadrant: its share of the tokens that lower the entropy most, and of each one's choice."""
    orders: dict[str, Callable[[pd.DataFrame], pd.Series]] = {"influence": lambda t: t["influence"]}
    orders |= PREDICTIONS
    table = pd.DataFrame({"quadrant": QUADRANTS})
    for name, order in orders.items():
        counts = np.zeros(len(QUADRANTS))
        for tokens in sets:
            values = order(tokens).to_numpy(np.float64)
            if np.isfinite(values).all():
                chosen = lowest(values, top_count(fraction, len(tokens)))
                counts += np.bincount(tokens["quadrant"].to_numpy()[chosen], minlength=len(QUADRANTS))
        table[name] = counts / counts.sum() if counts.sum() else np.nan
    return table


def group_table(
    sets: Sequence[pd.DataFrame], found: Sequence[SetFigures], fraction: float, level: float
) -> pd.DataFrame:
    """`proxy_table` in thirds of the training, quadrants and bins of entropy, with by, group and n_tokens.

    found: the figures of the sets. What the control chose is not told by group.
    """
    tables = []
    for by, group, parts in _groups(sets, found, fraction):
        if parts:
            table = proxy_table(parts, level).assign(by=by, group=group)
            tables.append(table.assign(n_tokens=sum(one.n_tokens for one in parts)))
    whole = pd.concat(tables, ignore_index=True)
    whole = whole[whole["proxy"] != CONTROL].reset_index(drop=True)
    first = ["by", "group", "proxy", "n_tokens"]
    return whole[[*first, *(name for name in whole.columns if name not in first)]]


def _groups(
    sets: Sequence[pd.DataFrame], found: Sequence[SetFigures], fraction: float
) -> Iterator[tuple[str, str, list[SetFigures]]]:
    for third, part in zip(("first", "middle", "last"), np.array_split(np.arange(len(sets)), 3), strict=True):
        yield "training", f"{third} third", [found[i] for i in part]
    for by, group, parts in _parts(sets):
        yield by, group, [set_figures(t, fraction) for t in parts if len(t) >= LEAST]


def _parts(sets: Sequence[pd.DataFrame]) -> Iterator[tuple[str, str, list[pd.DataFrame]]]:
    for code, name in enumerate(QUADRANTS):
        yield "quadrant", name, [t[t["quadrant"] == code] for t in sets]
    if any(t["entropy"].notna().all() for t in sets):
        for low in range(ENTROPY_BINS):
            name = f"{100 * low // ENTROPY_BINS} to {100 * (low + 1) // ENTROPY_BINS} % of the entropy"
            yield "entropy", name, [_between(t, low / ENTROPY_BINS, (low + 1) / ENTROPY_BINS) for t in sets]


def _between(tokens: pd.DataFrame, low: float, high: float) -> pd.DataFrame:
    """The tokens between two quantiles of the entropy, by rank."""
    rank = (rankdata(tokens["entropy"], method="ordinal") - 0.5) / len(tokens)
    return tokens[(rank >= low) & (rank < high)]
