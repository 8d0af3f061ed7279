"""Tables of an audit of proxies: means over token sets, intervals by prompts, quadrants and groups."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import rankdata, t as student

from ..record.summary import top_count
from ..schema import QUADRANTS
from .proxy_rankings import FIGURES, PREDICTIONS, lowest, ranked_figures

BLOCKS = 20
"""Blocks of prompts of the jackknife."""
ENTROPY_BINS = 4
LEAST = 20
"""Fewest tokens of a group in a set that are ranked."""

Figures = dict[str, dict[str, float]]
"""By quantity and figure."""


def proxy_table(
    sets: Sequence[pd.DataFrame], figures: Callable[[pd.DataFrame], Figures], level: float
) -> pd.DataFrame:
    """One row a quantity: the mean over the sets of each figure, its interval by a jackknife over prompts."""
    whole = _means([figures(tokens) for tokens in sets])
    blocks = [_block(tokens) for tokens in sets]
    count = min(BLOCKS, max(int(b.max()) + 1 for b in blocks))
    rows = pd.DataFrame({"proxy": list(whole.index)} | {name: whole[name].to_numpy() for name in FIGURES})
    for name in FIGURES:
        rows[f"{name}_low"] = rows[f"{name}_high"] = np.nan
    if count < 2:
        return rows
    pairs = list(zip(sets, blocks, strict=True))
    parts = [_means([figures(t[b != g]) for t, b in pairs]).reindex(whole.index) for g in range(count)]
    without = np.stack([part[list(FIGURES)].to_numpy() for part in parts])
    spread = np.sqrt((count - 1) / count * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    half = student.ppf((1 + level) / 2, count - 1) * spread
    for i, name in enumerate(FIGURES):
        rows[f"{name}_low"], rows[f"{name}_high"] = rows[name] - half[:, i], rows[name] + half[:, i]
    return rows


def _means(found: Sequence[Figures]) -> pd.DataFrame:
    names = list(dict.fromkeys(name for one in found for name in one))
    rows = {name: pd.DataFrame([one[name] for one in found if name in one]).mean() for name in names}
    return pd.DataFrame(rows).T.reindex(columns=list(FIGURES))


def _block(tokens: pd.DataFrame) -> NDArray[np.intp]:
    """The block of each token's prompt, or response where prompts are not known."""
    ids = tokens["prompt_id"] if (tokens["prompt_id"] >= 0).all() else tokens["sample_id"]
    codes = pd.factorize(ids)[0]
    return codes % min(BLOCKS, int(codes.max()) + 1)


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


def group_table(sets: Sequence[pd.DataFrame], fraction: float) -> pd.DataFrame:
    """One row a (group, quantity): spearman and capture within thirds of the training, quadrants, entropy."""
    rows = []
    for by, group, parts in _parts(sets):
        large = [t for t in parts if len(t) >= LEAST]
        means = _means([ranked_figures(t, fraction) for t in large]) if large else pd.DataFrame()
        for proxy, row in means.iterrows():
            figures = {"spearman": row["spearman"], "capture": row["capture"]}
            rows.append(
                {"by": by, "group": group, "proxy": proxy, "n_tokens": sum(map(len, large)), **figures}
            )
    return pd.DataFrame(rows, columns=["by", "group", "proxy", "n_tokens", "spearman", "capture"])


def _parts(sets: Sequence[pd.DataFrame]) -> Iterator[tuple[str, str, list[pd.DataFrame]]]:
    for third, part in zip(("first", "middle", "last"), np.array_split(np.arange(len(sets)), 3), strict=True):
        yield "training", f"{third} third", [sets[i] for i in part]
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
