"""The token rows of a run as arrays for the tail analyses."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from ..errors import InsufficientDataError, RunNotFoundError
from ..record.reader import Run
from ..schema import NO_PROMPT
from .cluster_bootstrap import Floats
from .prompt_units import STAND_IN, prompt_units
from .surprisal import SurprisalCheck, check_surprisal, vocabulary_size_of
from .tails import TailReport, analyze_tails
from .thinned_rows import token_rows

DEFAULT_STEPS = 20
"""The first so many steps with token rows are read where no steps are asked for."""

_NEEDED = (
    "step",
    "update",
    "sample_id",
    "prompt_id",
    "logprob",
    "advantage",
    "covariance",
    "sampling_weight",
)
_FINITE = ["logprob", "advantage", "covariance"]


@dataclass(frozen=True)
class RunTokens:
    """Token rows of some steps of a run.

    `frame`: the stored columns, and `l`, `a` (log-probability and advantage less their means over the token
    set, one (step, update)), `prompt` and `sample` (ids that differ from step to step). `weights` [n]: how
    many tokens each row stands for, None where all are stored.
    """

    frame: pd.DataFrame
    steps: tuple[int, ...]
    warnings: tuple[str, ...]
    weights: Floats | None = None


def run_tokens(run: Run, steps: int | Iterable[int] | None = None, columns: Sequence[str] = ()) -> RunTokens:
    """Read the token rows of the given steps (default: the first 20 that have any), all or a sample of them.

    Raises RunNotFoundError where the run, or a step asked for, has no token rows.
    """
    chosen = _chosen(run, steps)
    table, thinned = token_rows(run, chosen, [*_NEEDED, *columns])
    frame = table.to_pandas()
    usable = np.isfinite(frame[_FINITE].to_numpy(dtype=np.float64)).all(axis=1)
    updates = run.steps(by="update").set_index(["step", "update"])
    weights = sampling_weights(frame, updates["n_tokens"])
    warnings = _warnings(len(frame), weights, int((~usable).sum()), "read" if thinned else "stored")
    frame = frame[usable].reset_index(drop=True)
    kept = None if weights is None else weights[usable]
    if frame.empty:
        raise InsufficientDataError(
            f"{run.name}: no finite token row in the steps {chosen[0]} to {chosen[-1]}"
        )
    if (frame["prompt_id"] == NO_PROMPT).any():
        warnings.append(STAND_IN)
    frame["prompt_id"] = prompt_units(frame["prompt_id"].to_numpy(), frame["sample_id"].to_numpy())
    frame["prompt"] = frame.groupby(["step", "prompt_id"], sort=False).ngroup()
    frame["sample"] = frame.groupby(["step", "sample_id"], sort=False).ngroup()
    return RunTokens(_centred(updates, frame, kept), tuple(chosen), tuple(warnings), kept)


def sampling_weights(frame: pd.DataFrame, n_tokens: pd.Series) -> Floats | None:
    """How many tokens each row stands for, [n], None where every token is stored.

    1 / probability of inclusion, scaled within each (step, update) so that the drawn rows and those kept in
    any case (weight 1) together stand for exactly the tokens there were: `n_tokens` by (step, update).
    """
    weight = frame["sampling_weight"].fillna(1.0).to_numpy(dtype=np.float64, copy=True)
    drawn = weight > 1
    if not drawn.any():
        return None
    keys = pd.MultiIndex.from_frame(frame[["step", "update"]])
    codes, unique = keys.factorize()
    total = n_tokens.reindex(unique).to_numpy(np.float64)
    certain = np.bincount(codes, ~drawn, len(unique))
    sums = np.bincount(codes, weight * drawn, len(unique))
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = (total - certain) / sums
    scale = np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)
    weight[drawn] *= scale[codes[drawn]]
    return weight


def _chosen(run: Run, steps: int | Iterable[int] | None) -> list[int]:
    if steps is None:
        chosen = run.token_steps()[:DEFAULT_STEPS]
    else:
        chosen = [int(steps)] if isinstance(steps, int | np.integer) else sorted({int(s) for s in steps})
    if not chosen:
        raise RunNotFoundError(
            f"{run.path}: no token rows to analyse: record with token_sampling=None or a smaller "
            "every_steps; an imported run has rows only where its source holds log-probabilities"
        )
    return chosen


def _warnings(n_rows: int, weights: Floats | None, dropped: int, how: str) -> list[str]:
    warnings = []
    if weights is not None:
        certain = int((weights == 1).sum())
        kept = f", {certain:,} of them kept in any case (tail, selected)" if certain else ""
        warnings.append(
            f"{n_rows:,} of {weights.sum():,.0f} tokens are {how}{kept}: the figures are estimated from a "
            "sample, weighted by 1 / the probability of inclusion"
        )
    if dropped:
        warnings.append(f"{dropped:,} of {n_rows:,} token rows are left out: not finite")
    return warnings


def _centred(updates: pd.DataFrame, frame: pd.DataFrame, weights: Floats | None) -> pd.DataFrame:
    """Add `l` and `a`, less the exact means over all tokens of the update, stored or not."""
    keys = pd.MultiIndex.from_frame(frame[["step", "update"]])
    centre = updates[["logprob_mean", "advantage_mean"]].reindex(keys).to_numpy(dtype=np.float64)
    if not np.isfinite(centre).all():
        centre = np.where(np.isfinite(centre), centre, _stored_means(frame, keys, weights))
    frame["l"] = frame["logprob"].to_numpy(np.float64) - centre[:, 0]
    frame["a"] = frame["advantage"].to_numpy(np.float64) - centre[:, 1]
    return frame


def _stored_means(frame: pd.DataFrame, keys: pd.MultiIndex, weights: Floats | None) -> Floats:
    """Means over the stored finite rows of each update, for updates with values that are not finite."""
    codes, unique = keys.factorize()
    total = np.bincount(codes, weights, len(unique))
    w = np.ones(len(frame)) if weights is None else weights
    columns = [
        np.bincount(codes, w * frame[name].to_numpy(np.float64), len(unique)) / total
        for name in ("logprob", "advantage")
    ]
    return np.column_stack(columns)[codes]


def tail_inputs(run: Run, *, steps: int | Iterable[int] | None = None) -> dict[str, Any]:
    """Arrays for `analyze_tails(**tail_inputs(run))`: the first 20 steps that have token rows, or `steps`.

    covariance [n] as the loss used it; logprobs, advantages [n] less their mean over the token set (step,
    update); prompt_ids, sample_ids [n], different from step to step; weights [n], None where every token is
    stored.
    """
    return _arrays(run_tokens(run, steps))


def _arrays(tokens: RunTokens) -> dict[str, Any]:
    frame = tokens.frame
    return {
        "weights": tokens.weights,
        "covariance": frame["covariance"].to_numpy(np.float64),
        "logprobs": frame["l"].to_numpy(),
        "advantages": frame["a"].to_numpy(),
        "prompt_ids": frame["prompt"].to_numpy(),
        "sample_ids": frame["sample"].to_numpy(),
    }


def analyze_run(
    run: Run,
    *,
    steps: int | Iterable[int] | None = None,
    seed: int = 0,
    n_bootstrap: int = 200,
    progress: Callable[[float], None] | None = None,
) -> TailReport:
    """`analyze_tails` of the first 20 steps of a run that have token rows, or of `steps`."""
    tokens = run_tokens(run, steps, ["old_logprob"])
    report = analyze_tails(**_arrays(tokens), seed=seed, n_bootstrap=n_bootstrap, progress=progress)
    surprisal = _surprisal(run, tokens.frame)
    told = () if surprisal is None or not surprisal.mismatch else (surprisal.sentence(),)
    return replace(report, surprisal=surprisal, warnings=(*report.warnings, *tokens.warnings, *told))


def _surprisal(run: Run, frame: pd.DataFrame) -> SurprisalCheck | None:
    """Of the policy that sampled the tokens, where its logprobs and the vocabulary's size are known."""
    size = vocabulary_size_of(run.config)
    if size is None or frame["old_logprob"].isna().all():
        return None
    return check_surprisal(frame["old_logprob"].to_numpy(np.float64), size)
