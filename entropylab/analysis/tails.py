"""The tail of the token covariance: how heavy, heavier than chance, how concentrated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ..errors import InvalidInputError
from ..record.summary import top_count
from .cluster_bootstrap import MIN_REPLICATES, Floats
from .concentration import gini, lorenz, top_mask
from .jsonable import jsonable
from .permutation_null import PERMUTATIONS, permutation_frame, responses_of
from .quadrants import quadrant_codes, quadrant_table
from .surprisal import SurprisalCheck
from .tail_frames import concentration_frame, estimate_frame, null_frame, survival_frame
from .tail_power_law import PowerLawCheck, check_power_law
from .tail_replicates import Figures, Side
from .tail_sample import TailSample, tail_sample
from .tail_verdict import WINDOW, judge_concentration, judge_margins, judge_shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes

HEAVY = ("power-law-like", "heavier than exponential", "threshold-dependent")
BOUNDED_FAR_OUT = (
    "Sampled at temperature 1 with bounded advantages, P(-log π > t) <= V exp(-t): far out the tail is at "
    "most exponential, so what is said here is of the observed range."
)

QUADRANT_TOP = 0.02
"""The tail whose quadrants are shown."""


@dataclass(frozen=True, eq=False)
class TailReport:
    """What `analyze_tails` found. Tables are data frames; intervals are at `level`, by clusters.

    `verdict` holds the three lines, `explanations` a sentence to each.
    `estimates`: ξ by Hill, moment and GPD over thresholds, for both tails. `nulls`: top means of both
    tails beside those of independent margins, their ratio and one-sided p. `concentration`: top means.
    `quadrants`: all tokens and the top 2 %. `survival`: P(X > x) and the null's, both tails.
    `permutation`: mean, top means, share and ξ beside those with the advantages permuted over the responses
    of each prompt (N2), with p; empty where that cannot be done, `permutation_note` says why.
    `lorenz`: share of the tokens, share of the positive mass. `gini`: of |covariance|.
    `mean`, `std`: nats x advantage; `skew`, `kurtosis` (excess): of the population. `n` tokens; `n_rows`
    those analysed: fewer where the log holds a sample, and then every figure is a weighted estimate.
    """

    n: int
    n_prompts: int | None
    n_clusters: int
    cluster_kind: str
    mean: float
    std: float
    skew: float
    kurtosis: float
    verdict: tuple[str, str, str]
    explanations: tuple[str, str, str]
    left_shape: str
    estimates: pd.DataFrame
    nulls: pd.DataFrame
    concentration: pd.DataFrame
    quadrants: pd.DataFrame
    survival: pd.DataFrame
    lorenz: pd.DataFrame
    gini: float
    power_law: PowerLawCheck | None
    permutation: pd.DataFrame
    permutation_note: str | None = None
    surprisal: SurprisalCheck | None = None
    level: float = 0.95
    n_bootstrap: int = 200
    warnings: tuple[str, ...] = ()
    n_rows: int | None = None

    @property
    def estimated(self) -> bool:
        """Whether the figures are estimated from a sample of the tokens."""
        return self.n_rows is not None

    @property
    def top_means(self) -> dict[float, float]:
        """Mean covariance of the top k = ⌈f n⌉ tokens by fraction f."""
        return self._by_fraction("top_mean")

    @property
    def top_share_positive(self) -> dict[float, float]:
        """Share of the top tokens in Σ max(c, 0) by fraction."""
        return self._by_fraction("top_share_positive")

    @property
    def top_share_absolute(self) -> dict[float, float]:
        """Share of the top tokens in Σ |c| by fraction."""
        return self._by_fraction("top_share_absolute")

    @property
    def top_share_net(self) -> dict[float, float]:
        """The top tokens' sum over Σ c, a small remainder: may exceed 1; NaN where Σ c is not positive."""
        return self._by_fraction("top_share_net")

    def _by_fraction(self, column: str) -> dict[float, float]:
        table = self.concentration
        return dict(zip(table["fraction"].tolist(), table[column].tolist(), strict=True))

    def summary(self) -> str:
        """The concentration in one sentence, then the three lines with their reasons, then warnings."""
        lines = [self.explanations[2]]
        groups = (
            f"{self.n_clusters:,} {self.cluster_kind}s"
            if self.cluster_kind != "token"
            else "unknown clusters"
        )
        sample = f" (estimated from a sample of {self.n_rows:,})" if self.n_rows is not None else ""
        lines.append(
            f"{self.n:,} tokens{sample}, {groups}; mean {self.mean:.3g}, sd {self.std:.3g}, "
            f"skew {self.skew:.2g}, excess kurtosis {self.kurtosis:.3g}."
        )
        lines += [f"{v}: {why}" for v, why in zip(self.verdict[:2], self.explanations[:2], strict=True)]
        if self.verdict[0] in HEAVY:
            lines.append(BOUNDED_FAR_OUT)
        lines.append(self._permuted())
        lines.append(f"Left tail: {self.left_shape}.")
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    def _permuted(self) -> str:
        if self.permutation_note:
            return f"Advantages not permuted: {self.permutation_note}."
        rows = self.permutation.set_index("statistic")
        parts = []
        for name, text in (("mean", "mean"), ("top_mean_0.02", "top 2 %"), ("top_mean_0.002", "top 0.2 %")):
            row = rows.loc[name]
            if np.isfinite(row["p"]):
                parts.append(
                    f"{text} {row['observed']:.3g} against {row['permuted']:.3g} (p = {row['p']:.2g})"
                )
        return f"With advantages permuted over the responses of a prompt: {', '.join(parts)}."

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready; tables as lists of rows."""
        return jsonable({name: getattr(self, name) for name in self.__dataclass_fields__})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the survival curves beside independence; needs matplotlib."""
        from ..plots.tails import draw_tails

        return draw_tails(self, ax)


def analyze_tails(
    covariance: ArrayLike,
    *,
    logprobs: ArrayLike | None = None,
    advantages: ArrayLike | None = None,
    prompt_ids: ArrayLike | None = None,
    sample_ids: ArrayLike | None = None,
    weights: ArrayLike | None = None,
    seed: int = 0,
    n_bootstrap: int = 200,
    level: float = 0.95,
    progress: Callable[[float], None] | None = None,
) -> TailReport:
    """Describe the tail of cov_i = (log π_i - mean log π)(A_i - mean A) over the tokens of a batch.

    Concentration and tail index with intervals that draw whole prompts; beside them the exact null in which
    log-probability and advantage are independent (arXiv 2505.22617, eq. 10 and table 1). With bounded
    advantages and sampling at temperature 1 the tail is at most exponential far out: "heavy" is a statement
    about the observed range.

    Args: covariance [n], nats x advantage, one value a token inside the mask; logprobs [n] (nats) and
    advantages [n], for the second line; prompt_ids [n] for the clusters, else sample_ids [n] with a warning;
    weights [n]: how many tokens each row stands for (1 / its probability of inclusion), where the log holds a
    sample: survival, top means, shares, ξ and the null are then weighted estimates; progress: called with the
    fraction of the replicates that are done.
    Returns: a `TailReport`. Raises: InvalidInputError (NaN, shape, length), InsufficientDataError (fewer than
    20 tokens, or all alike).
    """
    _check_settings(n_bootstrap, level)
    sample = tail_sample(covariance, logprobs, advantages, prompt_ids, sample_ids, weights)
    sides = {"right": Side.of(sample, 1.0), "left": Side.of(sample, -1.0)}
    points = {name: side.point() for name, side in sides.items()}
    tick = _ticker(progress, 2 * n_bootstrap + PERMUTATIONS)
    draws = {name: side.replicates(n_bootstrap, seed, tick) for name, side in sides.items()}
    tables = _tables(sample, sides, points, draws, level)
    checks = {name: _power_law(side, seed) for name, side in sides.items()}
    estimates = tables["estimates"]
    shapes = {s: judge_shape(estimates[estimates["tail"] == s], checks[s], sample.clusters) for s in sides}
    permutation, note = _permutation(sample, seed, level, tick)
    lines = (
        shapes["right"],
        judge_margins(tables["nulls"], sample.clusters),
        judge_concentration(tables["concentration"]),
    )
    return TailReport(
        n=sample.size,
        n_prompts=sample.clusters.count if sample.clusters.kind == "prompt" else None,
        n_clusters=sample.clusters.count,
        cluster_kind=sample.clusters.kind,
        **_moments(sample.covariance, sample.weights),
        verdict=(lines[0].phrase, lines[1].phrase, lines[2].phrase),
        explanations=(lines[0].why, lines[1].why, lines[2].why),
        left_shape=shapes["left"].phrase,
        **tables,
        gini=gini(sample.covariance, sample.weights),
        power_law=checks["right"],
        permutation=permutation,
        permutation_note=note,
        level=level,
        n_bootstrap=n_bootstrap,
        warnings=sample.warnings,
        n_rows=None if sample.weights is None else len(sample.covariance),
    )


def _ticker(progress: Callable[[float], None] | None, total: int) -> Callable[[], None]:
    """What is called after each of ``total`` replicates."""
    done = 0

    def tick() -> None:
        nonlocal done
        done += 1
        if progress is not None:
            progress(done / total)

    return tick


def _permutation(
    sample: TailSample, seed: int, level: float, tick: Callable[[], None]
) -> tuple[pd.DataFrame, str | None]:
    """N2, or an empty table and the reason why there is none."""
    none = pd.DataFrame(columns=["statistic", "observed", "permuted", "permuted_low", "permuted_high", "p"])
    if sample.logprobs is None or sample.advantages is None:
        return none, "log-probabilities and advantages are not known"
    if sample.clusters.kind != "prompt" or sample.samples is None:
        return none, "prompts and responses are not known"
    if sample.weights is not None:
        return none, "the log holds a sample of the tokens, drawn by their covariance"
    batch = responses_of(sample.logprobs, sample.advantages, sample.clusters.codes, sample.samples)
    if isinstance(batch, str):
        return none, batch
    return permutation_frame(batch, sample.covariance, seed, level, tick), None


def _check_settings(n_bootstrap: int, level: float) -> None:
    if n_bootstrap < MIN_REPLICATES:
        raise InvalidInputError(f"n_bootstrap is {n_bootstrap}; intervals need at least {MIN_REPLICATES}")
    if not 0 < level < 1:
        raise InvalidInputError(f"level is {level}; give a probability between 0 and 1, e.g. 0.95")


def _tables(
    sample: TailSample,
    sides: dict[str, Side],
    points: dict[str, Figures],
    draws: dict[str, Figures],
    level: float,
) -> dict[str, pd.DataFrame]:
    n = sample.size
    estimates = [estimate_frame(s, sides[s], points[s], draws[s], level) for s in sides]
    nulls = [null_frame(s, sides[s], points[s], draws[s], level) for s in sides]
    curves = [survival_frame(s, sides[s].values, sides[s].null, sides[s].weights) for s in sides]
    return {
        "estimates": pd.concat(estimates, ignore_index=True),
        "nulls": pd.concat(nulls, ignore_index=True),
        "concentration": concentration_frame(points["right"], draws["right"], n, level),
        "quadrants": _quadrants(sample),
        "survival": pd.concat(curves, ignore_index=True),
        "lorenz": pd.DataFrame(
            dict(
                zip(
                    ("token_share", "mass_share"),
                    lorenz(sample.covariance, weights=sample.weights),
                    strict=True,
                )
            )
        ),
    }


def _quadrants(sample: TailSample) -> pd.DataFrame:
    if sample.logprobs is None or sample.advantages is None:
        return quadrant_table(sample.covariance, np.zeros(0, dtype=np.intp), {})
    k = top_count(QUADRANT_TOP, sample.size)
    top = top_mask(sample.covariance, k, sample.weights)
    codes = quadrant_codes(sample.logprobs, sample.advantages)
    sets: dict[str, NDArray | slice] = {"all": slice(None), "top 2 %": top}
    return quadrant_table(sample.covariance, codes, sets, sample.weights)


def _power_law(side: Side, seed: int) -> PowerLawCheck | None:
    """The check at the widest threshold that decides the shape (or the narrowest there is), where u > 0."""
    inside = [f for f in side.tails if WINDOW[0] <= f <= WINDOW[1]] or list(side.tails)[-1:]
    if not inside:
        return None
    tail = side.tails[inside[0]]
    if not tail.threshold > 0 or not tail.evenly_drawn:
        return None  # the test knows no weights: it needs a tail stored in full or drawn evenly
    return check_power_law(tail.logs, side.ranked_codes[: len(tail.logs)], tail.threshold, seed)


def _moments(values: Floats, weights: Floats | None) -> dict[str, Any]:
    def mean(x: Floats) -> float:
        return float(np.average(x, weights=weights))

    centred = values - mean(values)
    std = float(np.sqrt(mean(centred**2)))
    scaled = centred / std
    return {"mean": mean(values), "std": std, "skew": mean(scaled**3), "kurtosis": mean(scaled**4) - 3}
