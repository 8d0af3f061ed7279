"""The tail of the covariance over every token of a run, exact whatever its size, in three passes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import pandas as pd

from ..analysis.prompt_units import prompt_units
from ..errors import InsufficientDataError, RunFormatError
from ..record.bit_counts import (
    HALVES,
    LowerCounts,
    UpperCounts,
    highest,
    lower_counts,
    merge_lower,
    ordered_bits,
    top_sum,
    values_of,
)
from ..record.moments import Moments, merge_moments
from ..record.reader import Run
from ..record.step_source import StepSource
from ..record.summary import top_count
from ..schema import TOP_FRACTIONS
from .choice import engine_of
from .passes import Passes
from .tasks import Engine

QUANTILES = (0.5, 0.9, 0.99, 0.999, 0.9999)
TAIL = 0.02
"""The tail whose spread over prompts is told."""

POINTS = 200
"""Most points of the survival curve."""

_PASSES = 3


@dataclass(frozen=True, eq=False)
class TailScan:
    """What `scan_tails` found; covariances in nats x advantage, all figures exact.

    `quantiles`: the smallest value that at least the share of the tokens does not exceed. `top`: fraction, k,
    threshold (the k-th highest), top_mean and share of the positive mass. `survival`: x and the share of the
    tokens at or above it, at values whose neighbours are within 1 %. `n_prompts`: prompts of single steps;
    `tenth_share`: what the tenth of them with most tokens in the top 2 % holds of those. `left_out`: steps of
    which not all tokens are rows; `errors`: by step, why its rows could not be read.
    """

    run: str
    steps: tuple[int, ...]
    n: int
    mean: float
    std: float
    skew: float
    kurtosis: float
    quantiles: pd.DataFrame
    top: pd.DataFrame
    survival: pd.DataFrame
    n_prompts: int
    tenth_share: float
    left_out: tuple[int, ...]
    errors: dict[int, str]

    def summary(self) -> str:
        """Size and moments, the top means, the prompts, then what is left out."""
        held = self.top.set_index("fraction")
        row = held.loc[TAIL]
        lines = [
            f"All {self.n:,} tokens of {len(self.steps):,} steps: mean {self.mean:.4g}, sd {self.std:.4g}, "
            f"skew {self.skew:.3g}, excess kurtosis {self.kurtosis:.4g}.",
            f"The top 2 % lie at or above {row['threshold']:.4g}, are {row['top_mean']:.4g} on average and "
            f"hold {100 * row['share_positive']:.3g} % of the positive covariance.",
            f"A tenth of the {self.n_prompts:,} prompts holds {100 * self.tenth_share:.3g} % of them.",
        ]
        if self.left_out:
            lines.append(f"{len(self.left_out):,} steps are left out: not all of their tokens are stored.")
        lines += [f"step {step}: {reason}" for step, reason in self.errors.items()]
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready; tables as lists of rows."""
        from ..analysis.jsonable import jsonable

        return jsonable({name: getattr(self, name) for name in self.__dataclass_fields__})


def scan_tails(
    run: Run,
    *,
    steps: Sequence[int] | None = None,
    engine: str | Engine = "local",
    progress: Callable[[float], None] | None = None,
    **settings: Any,
) -> TailScan:
    """Exact moments, quantiles and top means of the covariance over all tokens of a run, or of ``steps``.

    The first pass counts values by the upper half of their bits, the second those of the halves that a
    quantile or top set cuts by the lower half, the third the tokens of the top 2 % by prompt. Counts and sums
    merge exactly, so the result is the same to the bit over every engine. ``settings``: see `engine_of`.
    Raises InsufficientDataError where no step has all its tokens stored and readable, `EngineError`.
    """
    from ..analysis.concentration import share_of_most  # not loaded in every worker

    if isinstance(engine, str):
        engine = engine_of(engine, **settings)
    wanted = None if steps is None else set(steps)
    chosen = [s for s in run.frozen().step_sources() if wanted is None or s.step in wanted]
    passes = Passes(engine, [s for s in chosen if s.stored and s.n_tokens], _PASSES, progress)
    moments, upper = _first(passes, run.name)
    ranks = {q: upper.n - top_count(q, upper.n) + 1 for q in QUANTILES}
    tops = {f: top_count(f, upper.n) for f in TOP_FRACTIONS}
    cut = {upper.place(k)[0] for k in (*ranks.values(), *tops.values())}
    lower = merge_lower(counts for _, counts in passes.do(partial(_lower, uppers=cut)))
    top = _top_frame(upper, lower, tops)
    threshold = float(top.set_index("fraction").loc[TAIL, "threshold"])
    counts = np.concatenate([found for _, found in passes.do(partial(_by_prompt, threshold=threshold))])
    return TailScan(
        run=run.name,
        steps=tuple(s.step for s in passes.sources),
        n=upper.n,
        mean=moments.mean,
        std=_number(moments.std),
        skew=_number(moments.skew),
        kurtosis=_number(moments.kurtosis),
        quantiles=pd.DataFrame(
            {"quantile": list(ranks), "value": [highest(upper, lower, k) for k in ranks.values()]}
        ),
        top=top,
        survival=_survival(upper),
        n_prompts=len(counts),
        tenth_share=share_of_most(counts, 0.1),
        left_out=tuple(s.step for s in chosen if not s.stored),
        errors=passes.errors,
    )


def _first(passes: Passes, name: str) -> tuple[Moments, UpperCounts]:
    """Moments and upper counts over all steps that can be read; counts merge in any order, moments in one."""
    moments: dict[int, Moments] = {}
    upper: UpperCounts | None = None
    for place, (of_step, counts) in passes.do(_counts, first=True):
        moments[place] = of_step
        upper = counts if upper is None else upper.merge(counts)
    if upper is None:
        reason = next(iter(passes.errors.values()), "record without token_sampling")
        raise InsufficientDataError(f"{name}: no step whose tokens are all stored and finite ({reason})")
    return merge_moments(moments[place] for place in sorted(moments)), upper


def _counts(source: StepSource) -> tuple[Moments, UpperCounts]:
    parts = [(Moments.of(x), UpperCounts.of(x, ordered_bits(x))) for x in _covariances(source)]
    upper = reduce(UpperCounts.merge, (counts for _, counts in parts))
    if not upper.finite:
        raise RunFormatError(f"{source}: a covariance is not finite")
    return merge_moments(moments for moments, _ in parts), upper


def _lower(source: StepSource, uppers: set[int]) -> LowerCounts:
    return merge_lower(lower_counts(ordered_bits(x), uppers) for x in _covariances(source))


def _by_prompt(source: StepSource, threshold: float) -> np.ndarray:
    """Tokens at or above the threshold of each prompt of the step."""
    ids, inside = [], []
    for batch in source.rows("tokens", ("prompt_id", "sample_id", "covariance")):
        ids.append(prompt_units(batch["prompt_id"].to_numpy(), batch["sample_id"].to_numpy()))
        inside.append(batch["covariance"].to_numpy() >= threshold)
    _, prompt = np.unique(np.concatenate(ids), return_inverse=True)
    return np.bincount(prompt[np.concatenate(inside)], minlength=int(prompt.max()) + 1)


def _covariances(source: StepSource) -> Iterator[np.ndarray]:
    for batch in source.rows("tokens", ("covariance",)):
        yield batch["covariance"].to_numpy()


def _top_frame(upper: UpperCounts, lower: LowerCounts, tops: Mapping[float, int]) -> pd.DataFrame:
    positive = math.fsum(upper.total[HALVES // 2 :].tolist())
    rows = [
        {
            "fraction": fraction,
            "k": k,
            "threshold": highest(upper, lower, k),
            "top_mean": (total := top_sum(upper, lower, k)) / k,
            "share_positive": total / positive if positive > 0 else float("nan"),
        }
        for fraction, k in tops.items()
    ]
    return pd.DataFrame(rows)


def _survival(upper: UpperCounts) -> pd.DataFrame:
    """P(X >= x) at lower edges of the positive upper halves that hold values, thinned evenly in ln P."""
    held = np.flatnonzero(upper.count)
    held = held[held >= HALVES // 2]
    above = np.cumsum(upper.count[::-1])[::-1][held] / upper.n
    if len(held) > POINTS:
        wanted = np.linspace(np.log(above[0]), np.log(above[-1]), POINTS)
        places = np.unique(np.searchsorted(-np.log(above), -wanted))
        held, above = held[places], above[places]
    return pd.DataFrame({"x": values_of(held, 0), "share": above})


def _number(value: float | None) -> float:
    return float("nan") if value is None else value
