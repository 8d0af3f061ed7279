"""Cheap quantities as rankings of tokens by their effect on the entropy, beside the exact one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

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

FIGURES = {
    "spearman": (-1.0, 1.0),
    "overlap": (0.0, 1.0),
    "capture": (-np.inf, 1.0),
    "raises": (0.0, 1.0),
    "saved": (-np.inf, 1.0),
}
"""Of a quantity: its rank correlation, and what is told of the tokens that it chooses; with the range."""

CONTROL = "chosen by the control"

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


def influence_steps(run: Run) -> tuple[int, ...]:
    """The whole steps with the influence of some token."""
    sources = (source for source in run.step_sources() if any(m.tokens for m in source.markers))
    return tuple(source.step for source in sources if _holds_influence(source))


def _holds_influence(source: StepSource) -> bool:
    return any(batch["influence"].null_count < len(batch) for batch in source.rows("tokens", ("influence",)))


def _sets_of(source: StepSource) -> Iterator[pd.DataFrame]:
    if not _holds_influence(source):
        return
    frame = pa.Table.from_batches(source.rows("tokens", _COLUMNS)).to_pandas()
    floats = ["logprob", "entropy", "advantage", "covariance", "influence"]
    frame[floats] = frame[floats].astype(np.float64)
    for _, tokens in frame.groupby("update", sort=True):
        if len(tokens) > 1 and np.isfinite(tokens[["influence", "covariance"]]).all(axis=None):
            centred = [(tokens[n] - tokens[n].mean()).to_numpy() for n in ("logprob", "advantage")]
            yield tokens.assign(quadrant=quadrant_codes(*centred)).reset_index(drop=True)


def predictions_of(tokens: pd.DataFrame) -> Floats:
    """[quantity, token] in the order of PREDICTIONS; a row of NaN where some token lacks what it takes."""
    rows = np.stack([predict(tokens).to_numpy(np.float64) for predict in PREDICTIONS.values()])
    rows[~np.isfinite(rows).all(axis=1)] = np.nan
    return rows


def ranked_figures(influence: Floats, predictions: Floats, fraction: float) -> Floats:
    """[quantity, figure]: rank correlation, and the figures of the tokens that each quantity chooses.

    influence: nats [n]; predictions: [quantity, n], see `predictions_of`. NaN for fewer than two tokens.
    """
    return pooled([ranked_parts(influence, predictions, fraction)])


def pooled(parts: Sequence[Floats]) -> Floats:
    """Figures over several token sets: sums of the numerators over sums of the denominators, [..., 2] each.

    Effects are in units of the sum of absolute effects of their set: so each set counts alike, whatever the
    size of its update, and no quotient of a set in which hardly anything lowers the entropy stands out. NaN
    where no set has the figure.
    """
    stacked = np.stack(parts)
    known = np.isfinite(stacked).all(axis=-1, keepdims=True)
    over, under = np.moveaxis(np.where(known, stacked, 0.0).sum(axis=0), -1, 0)
    return np.divide(over, under, out=np.full(over.shape, np.nan), where=under != 0)


def ranked_parts(influence: Floats, predictions: Floats, fraction: float) -> Floats:
    """Numerators and denominators [quantity, figure, 2] of `ranked_figures` in one token set."""
    found = np.full((len(predictions), len(FIGURES), 2), np.nan)
    ranked = np.isfinite(predictions).all(axis=1)
    if len(influence) > 1 and ranked.any():
        known = predictions[ranked]
        order = np.argsort(known, axis=1, kind="stable")[:, : top_count(fraction, len(influence))]
        found[ranked] = [_chosen(influence, row) for row in order]
        found[ranked, 0, 0] = _correlations(rankdata(known, axis=1), rankdata(influence))
        found[ranked, 0, 1] = 1.0
    return found


def chosen_parts(influence: Floats, chosen: NDArray[np.bool_]) -> Floats:
    """Numerators and denominators [figure, 2] of some tokens against as many that lower the entropy most."""
    return _chosen(influence, np.flatnonzero(chosen))


def _chosen(influence: Floats, places: NDArray[np.intp]) -> Floats:
    """Rows as FIGURES; the first, a ranking, is not told of tokens."""
    if not len(places):
        return np.full((len(FIGURES), 2), np.nan)
    k = len(places)
    best = lowest(influence, k)
    unit = np.abs(influence).sum()
    effects = influence / unit if unit > 0 else influence
    taken, most = effects[places], effects[best].sum()
    lowering = np.minimum(effects, 0.0).sum()
    return np.array(
        [
            [np.nan, np.nan],
            [len(np.intersect1d(places, best, assume_unique=True)), k],
            [taken.sum(), most if most < 0 else np.nan],
            [(taken > 0).sum(), k],
            [taken.sum(), lowering if lowering < 0 else np.nan],
        ]
    )


def lowest(values: Floats, k: int) -> NDArray[np.intp]:
    """Places of the k lowest values, the first of equal ones."""
    return np.argsort(values, kind="stable")[:k]


def _correlations(rows: Floats, ranks: Floats) -> Floats:
    """Of each row with the ranks; NaN where one of both is constant."""
    centred, other = rows - rows.mean(axis=1, keepdims=True), ranks - ranks.mean()
    scale = np.sqrt((centred**2).sum(axis=1) * (other**2).sum())
    return np.divide(centred @ other, scale, out=np.full(len(rows), np.nan), where=scale > 0)
