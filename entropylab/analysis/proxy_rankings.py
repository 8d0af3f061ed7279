"""Cheap quantities as rankings of tokens by their effect on the entropy, beside the exact one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from scipy.stats import rankdata

from ..record.reader import Run
from ..record.step_source import StepSource
from ..record.summary import top_count
from .cluster_bootstrap import Floats
from .quadrants import quadrant_codes

PREDICTIONS: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
    "covariance": lambda t: -t["covariance"],
    "-A (log p + H)": lambda t: -t["advantage"] * (t["logprob"] + t["entropy"]),
    "-A p (log p + H)": lambda t: -t["advantage"] * np.exp(t["logprob"]) * (t["logprob"] + t["entropy"]),
    "STEER": lambda t: t["advantage"] * np.expm1(t["logprob"]) * (t["logprob"] + t["entropy"]),
}
"""What each takes for the effect of a token on the entropy, up to a factor: minus the covariance (arXiv
2505.22617), the tabular softmax without and with its probability, and Ω of STEER (arXiv 2510.10150)."""

FIGURES = ("spearman", "overlap", "capture", "raises", "saved")
"""Of a quantity: its rank correlation, and what is told of the tokens that it chooses."""

_COLUMNS = (
    "step",
    "update",
    "prompt_id",
    "sample_id",
    "logprob",
    "entropy",
    "advantage",
    "covariance",
    "influence",
    "selected",
    "sampling_weight",
)


def token_sets(run: Run, steps: int | Iterable[int] | None) -> Iterator[pd.DataFrame]:
    """The rows of each update whose influence is recorded, with the quadrant of each token."""
    wanted = None if steps is None else {int(steps)} if isinstance(steps, int) else {int(s) for s in steps}
    for source in run.step_sources():
        if (wanted is None or source.step in wanted) and any(m.tokens for m in source.markers):
            yield from _sets_of(source)


def _sets_of(source: StepSource) -> Iterator[pd.DataFrame]:
    table = pa.Table.from_batches(source.rows("tokens", ("influence",)))
    if table["influence"].null_count == len(table):
        return
    frame = pa.Table.from_batches(source.rows("tokens", _COLUMNS)).to_pandas()
    floats = ["logprob", "entropy", "advantage", "covariance", "influence"]
    frame[floats] = frame[floats].astype(np.float64)
    for _, tokens in frame.groupby("update", sort=True):
        if len(tokens) > 1 and np.isfinite(tokens[["influence", "covariance"]]).all(axis=None):
            centred = [(tokens[n] - tokens[n].mean()).to_numpy() for n in ("logprob", "advantage")]
            yield tokens.assign(quadrant=quadrant_codes(*centred)).reset_index(drop=True)


def ranked_figures(tokens: pd.DataFrame, fraction: float) -> dict[str, dict[str, float]]:
    """By quantity: rank correlation, and the figures of the tokens that it chooses."""
    k = top_count(fraction, len(tokens))
    ranks = rankdata(tokens["influence"])
    found = {}
    for name, predict in PREDICTIONS.items():
        values = predict(tokens).to_numpy(np.float64)
        if np.isfinite(values).all():
            chosen = np.zeros(len(tokens), dtype=bool)
            chosen[lowest(values, k)] = True
            spearman = _correlation(rankdata(values), ranks)
            found[name] = {**chosen_figures(tokens, chosen), "spearman": spearman}
    return found


def chosen_figures(tokens: pd.DataFrame, chosen: NDArray[np.bool_]) -> dict[str, float]:
    """Of some tokens against as many that lower the entropy most."""
    if not chosen.any():
        return dict.fromkeys(FIGURES, float("nan"))
    influence = tokens["influence"].to_numpy()
    best = lowest(influence, int(chosen.sum()))
    taken, most = influence[chosen], influence[best].sum()
    lowering = -np.minimum(influence, 0.0).sum()
    return {
        "spearman": np.nan,
        "overlap": float(chosen[best].mean()),
        "capture": float(taken.sum() / most) if most < 0 else np.nan,
        "raises": float((taken > 0).mean()),
        "saved": float(-taken.sum() / lowering) if lowering > 0 else np.nan,
    }


def lowest(values: Floats, k: int) -> NDArray[np.intp]:
    """Places of the k lowest values, the first of equal ones."""
    return np.argsort(values, kind="stable")[:k]


def _correlation(x: Floats, y: Floats) -> float:
    return float(np.corrcoef(x, y)[0, 1]) if x.std() > 0 and y.std() > 0 else float("nan")
