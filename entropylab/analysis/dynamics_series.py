"""What a step's covariance predicts for the entropy, and what the entropy did: one row a step."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pandas as pd

from ..record.reader import Run
from .cluster_bootstrap import Floats
from .prompt_units import prompt_units

PREDICTORS = {
    "token_npg": "Cov(log π, A) over the tokens",
    "token_pg": "Cov(log π, π A) over the tokens",
    "response_npg": "Cov(log π, A) over the responses of a prompt, log π per token",
    "response_pg": "Cov(log π, π A) over the responses of a prompt, log π per token",
}
"""Forms of the prediction -ΔH ∝ Cov (arXiv 2505.22617): natural gradient (theorem 2) and policy gradient
(theorem 1), over tokens (eq. 10) and over the responses of a prompt with log π(y)/|y| (eq. 9), averaged over
prompts."""

OBSERVED = {
    "same_states": "on the same states, before less after the step's updates",
    "between": "between rollouts, this step's less the next one's",
}

_COLUMNS = ("step", "prompt_id", "sample_id", "logprob", "old_logprob", "advantage", "sampling_weight")


def dynamics_series(run: Run) -> pd.DataFrame:
    """step, entropy, drops of the entropy (``OBSERVED``) and predictors (``PREDICTORS``); NaN where unknown.

    A drop between rollouts is of neighbouring steps only. ``token_npg`` is the covariance the loss used,
    exact over all tokens of the step; the other forms need token rows, and are ``estimated`` (bool) where the
    log holds a sample of them. Those over the responses of a prompt need prompt ids.
    """
    steps = run.steps().sort_values("step", ignore_index=True)
    frame = pd.DataFrame({"step": steps["step"].to_numpy(), "entropy": _column(steps, "entropy_token_mean")})
    frame["same_states"] = frame["entropy"] - _column(steps, "entropy_after_token_mean")
    neighbour = frame["step"].shift(-1) - frame["step"] == 1
    frame["between"] = (frame["entropy"] - frame["entropy"].shift(-1)).where(neighbour)
    frame["token_npg"] = _column(steps, "covariance_mean")
    rows = [_of_step(*one) for one in _rows(run)]
    forms = pd.DataFrame(rows, columns=["step", *list(PREDICTORS)[1:], "estimated"])
    found = frame.merge(forms, on="step", how="left")
    return found.assign(estimated=found["estimated"].eq(True))


def _column(steps: pd.DataFrame, name: str) -> Floats:
    if name not in steps:
        return np.full(len(steps), np.nan)
    return steps[name].to_numpy(dtype=np.float64)


def _rows(run: Run) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """The token columns of each step, in one pass over the log that holds one step at a time."""
    held = run.token_steps()
    if not held:
        return
    parts: list[dict[str, np.ndarray]] = []
    step = held[0]
    for batch in run.tokens(columns=_COLUMNS):
        columns = {name: batch[name].to_numpy(zero_copy_only=False) for name in _COLUMNS}
        steps = columns["step"]
        edges = [0, *(np.flatnonzero(np.diff(steps)) + 1), len(steps)]
        for first, last in pairwise(edges):
            if last > first and steps[first] != step:
                yield step, _joined(parts)
                parts, step = [], int(steps[first])
            parts.append({name: values[first:last] for name, values in columns.items()})
    yield step, _joined(parts)


def _joined(parts: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return parts[0] if len(parts) == 1 else {n: np.concatenate([p[n] for p in parts]) for n in _COLUMNS}


def _of_step(step: int, rows: dict[str, np.ndarray]) -> tuple[float | bool, ...]:
    new, old, advantage, weight = (
        rows[name].astype(np.float64) for name in ("logprob", "old_logprob", "advantage", "sampling_weight")
    )
    logprob = np.where(np.isnan(old), new, old)
    weight = np.where(np.isnan(weight), 1.0, weight)
    usable, sampled = np.isfinite(logprob) & np.isfinite(advantage), bool((weight > 1).any())
    if not usable.any():
        return (step, np.nan, np.nan, np.nan, sampled)
    l, a, w = logprob[usable], advantage[usable], weight[usable]
    samples = rows["sample_id"][usable]
    prompts = prompt_units(rows["prompt_id"][usable], samples)
    token_pg = weighted_covariance(l, np.exp(l) * a, w)
    return (step, token_pg, *response_covariances(l, a, w, prompts, samples), sampled)


def weighted_covariance(x: Floats, y: Floats, w: Floats) -> float:
    """Σ w (x - mean x)(y - mean y) / Σ w."""
    total = w.sum()
    return float(w @ ((x - w @ x / total) * (y - w @ y / total)) / total)


def response_covariances(
    l: Floats, a: Floats, w: Floats, prompts: np.ndarray, samples: np.ndarray
) -> tuple[float, float]:
    """(Cov(λ, A), Cov(λ, exp(λ) A)) over the responses of a prompt, mean over prompts of two or more.

    λ = log π(y)/|y|, the mean of its tokens' logprobs (arXiv 2505.22617, eq. 9); A that of its advantages.
    """
    _, response = np.unique(samples, return_inverse=True)
    held = np.bincount(response, w)
    means = [np.bincount(response, w * x) / held for x in (l, a)]
    first = np.unique(response, return_index=True)[1]
    _, prompt = np.unique(prompts[first], return_inverse=True)
    natural, plain = (_within(means[0], y, prompt) for y in (means[1], np.exp(means[0]) * means[1]))
    return natural, plain


def _within(x: Floats, y: Floats, group: np.ndarray) -> float:
    """Covariance within each group of two or more, mean over those groups; NaN where there is none."""
    size = np.bincount(group)
    mean_x, mean_y = (np.bincount(group, v) / size for v in (x, y))
    inside = np.bincount(group, (x - mean_x[group]) * (y - mean_y[group])) / size
    return float(inside[size > 1].mean()) if (size > 1).any() else float("nan")
