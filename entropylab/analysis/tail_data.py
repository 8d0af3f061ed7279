"""The token rows of a run as arrays for the tail analyses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from ..errors import InsufficientDataError, RunNotFoundError
from ..record.reader import Run
from .tails import TailReport, analyze_tails

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
    set, one (step, update)), `prompt` and `sample` (ids that differ from step to step).
    """

    frame: pd.DataFrame
    steps: tuple[int, ...]
    warnings: tuple[str, ...]


def run_tokens(run: Run, steps: int | Iterable[int] | None = None, columns: Sequence[str] = ()) -> RunTokens:
    """Read the token rows of the given steps (default: the first 20 that have any).

    Raises RunNotFoundError where the run, or a step asked for, has no token rows.
    """
    chosen = _chosen(run, steps)
    batches = list(run.tokens(chosen, [*_NEEDED, *columns]))
    frame = pa.Table.from_batches(batches).to_pandas()
    usable = np.isfinite(frame[_FINITE].to_numpy(dtype=np.float64)).all(axis=1)
    warnings = _warnings(frame, int((~usable).sum()))
    frame = frame[usable].reset_index(drop=True)
    if frame.empty:
        raise InsufficientDataError(
            f"{run.name}: no finite token row in the steps {chosen[0]} to {chosen[-1]}"
        )
    frame["prompt"] = frame.groupby(["step", "prompt_id"], sort=False).ngroup()
    frame["sample"] = frame.groupby(["step", "sample_id"], sort=False).ngroup()
    return RunTokens(_centred(run, frame), tuple(chosen), tuple(warnings))


def _chosen(run: Run, steps: int | Iterable[int] | None) -> list[int]:
    if steps is None:
        chosen = run.token_steps()[:DEFAULT_STEPS]
    else:
        chosen = [int(steps)] if isinstance(steps, int | np.integer) else sorted({int(s) for s in steps})
    if not chosen:
        raise RunNotFoundError(
            f"{run.path}: no token rows to analyse; record with token_sampling=None or a smaller every_steps"
        )
    return chosen


def _warnings(frame: pd.DataFrame, dropped: int) -> list[str]:
    warnings = []
    weight = frame["sampling_weight"].fillna(1.0)
    if (weight != 1).any():
        warnings.append(
            f"only 1 in {weight.mean():.3g} of the tokens is stored: the figures are estimated from a sample"
        )
    if dropped:
        warnings.append(f"{dropped:,} of {len(frame):,} token rows are left out: not finite")
    return warnings


def _centred(run: Run, frame: pd.DataFrame) -> pd.DataFrame:
    """Add `l` and `a`, less the exact means over all tokens of the update, stored or not."""
    means = run.steps(by="update").set_index(["step", "update"])[["logprob_mean", "advantage_mean"]]
    keys = pd.MultiIndex.from_frame(frame[["step", "update"]])
    centre = means.reindex(keys).to_numpy(dtype=np.float64)
    stored = (
        frame.groupby(["step", "update"])[["logprob", "advantage"]].transform("mean").to_numpy(np.float64)
    )
    centre = np.where(np.isfinite(centre), centre, stored)
    frame["l"] = frame["logprob"].to_numpy(np.float64) - centre[:, 0]
    frame["a"] = frame["advantage"].to_numpy(np.float64) - centre[:, 1]
    return frame


def tail_inputs(run: Run, *, steps: int | Iterable[int] | None = None) -> dict[str, Any]:
    """Arrays for `analyze_tails(**tail_inputs(run))`: the first 20 steps that have token rows, or `steps`.

    covariance [n] as the loss used it; logprobs, advantages [n] less their mean over the token set (step,
    update); prompt_ids, sample_ids [n], different from step to step.
    """
    return _arrays(run_tokens(run, steps).frame)


def _arrays(frame: pd.DataFrame) -> dict[str, Any]:
    return {
        "covariance": frame["covariance"].to_numpy(np.float64),
        "logprobs": frame["l"].to_numpy(),
        "advantages": frame["a"].to_numpy(),
        "prompt_ids": frame["prompt"].to_numpy(),
        "sample_ids": frame["sample"].to_numpy(),
    }


def analyze_run(
    run: Run, *, steps: int | Iterable[int] | None = None, seed: int = 0, n_bootstrap: int = 200
) -> TailReport:
    """`analyze_tails` of the first 20 steps of a run that have token rows, or of `steps`."""
    tokens = run_tokens(run, steps)
    report = analyze_tails(**_arrays(tokens.frame), seed=seed, n_bootstrap=n_bootstrap)
    return replace(report, warnings=(*report.warnings, *tokens.warnings))
