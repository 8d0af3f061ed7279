"""Random micro-batches in the shape of a trainer's, and the reference computation of their summary."""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest


def random_batch(seed: int, rows: int = 12, length: int = 9, **change: object) -> dict[str, object]:
    """All arguments of `Recorder.record` but the step, float32, with NaN outside the mask."""
    rng = np.random.default_rng(seed)
    shape = (rows, length)
    mask = np.arange(length) < rng.integers(1, length + 1, size=(rows, 1))

    def floats(scale: float = 1.0) -> np.ndarray:
        return np.where(mask, -rng.exponential(scale, shape), np.nan).astype(np.float32)

    logprobs = floats()
    tokens = {
        "covariance": np.where(mask, rng.standard_t(3, shape), np.nan).astype(np.float32),
        "selected": mask & (rng.random(shape) < 0.2),
        "clipped": mask & (rng.random(shape) < 0.1),
        "ratio": np.where(mask, np.exp(rng.normal(0, 0.1, shape)), np.nan).astype(np.float32),
        "weight": np.where(mask, rng.random(shape), np.nan).astype(np.float32),
    }
    batch = {
        "out": SimpleNamespace(tokens=tokens),
        "logprobs": logprobs,
        "old_logprobs": (logprobs + rng.normal(0, 0.05, shape)).astype(np.float32),
        "ref_logprobs": (logprobs + rng.normal(0, 0.3, shape)).astype(np.float32),
        "advantages": np.where(rng.random(rows) < 0.2, 0.0, rng.normal(size=rows)).astype(np.float32),
        "mask": mask,
        "entropy": -floats(0.7),
        "entropy_after": -floats(0.6),
        "influence": floats(0.01),
        "rewards": rng.integers(0, 2, rows).astype(np.float32),
        "prompt_ids": np.repeat(np.arange(rows // 2 + 1), 2)[:rows] + 100 * seed,
        "sample_ids": np.arange(rows) + 1000 * seed,
        "token_ids": rng.integers(0, 50, shape),
        "texts": [f"response {seed}/{i} é" for i in range(rows)],
    }
    return {**batch, **change}


@pytest.fixture(scope="session")
def batch() -> Callable[..., dict[str, object]]:
    return random_batch


@pytest.fixture(scope="session")
def reference() -> Callable[[list[dict]], dict[str, float]]:
    return reference_summary


def flat(batches: list[dict], name: str) -> list[float]:
    """The valid values of a [B, T] input of several batches, as Python floats."""
    found = []
    for b in batches:
        values = b["out"].tokens[name] if name in b["out"].tokens else b[name]
        values = np.broadcast_to(values[:, None], b["mask"].shape) if values.ndim == 1 else values
        found += [float(v) for v in values[b["mask"]]]
    return found


def moments(name: str, x: list[float]) -> dict[str, float]:
    n, mean = len(x), math.fsum(x) / len(x)
    m = {p: math.fsum((v - mean) ** p for v in x) for p in (2, 3, 4)}
    std = math.sqrt(m[2] / n)
    shape = {"skew": m[3] / n / std**3, "kurtosis": m[4] / n / std**4 - 3}
    sums = {f"{name}_m{p}": v for p, v in m.items()}
    return {f"{name}_mean": mean, f"{name}_std": std, **{f"{name}_{k}": v for k, v in shape.items()}, **sums}


def reference_summary(batches: list[dict]) -> dict[str, float]:
    """The summary of one update by plain Python sums, independent of the package."""
    names = ("logprobs", "advantages", "covariance", "selected", "ratio", "clipped", "entropy")
    l, a, c, selected, ratio, clipped, entropy = (flat(batches, name) for name in names)
    old, ref, after = (flat(batches, name) for name in ("old_logprobs", "ref_logprobs", "entropy_after"))
    n = len(l)
    row = moments("logprob", l) | moments("advantage", a) | moments("covariance", c)
    for fraction in (2e-4, 2e-3, 2e-2, 2e-1, 5e-1):
        k = -int(-round(fraction * 1e4) * n // 1e4)
        row[f"top_mean_{fraction:g}"] = math.fsum(sorted(c)[-k:]) / k
    for i, quadrant in enumerate(("high_above", "high_below", "low_above", "low_below")):
        inside = [
            j
            for j in range(n)
            if (l[j] < row["logprob_mean"]) == (i >= 2) and (a[j] < row["advantage_mean"]) == (i % 2 == 1)
        ]
        row[f"count_{quadrant}"] = len(inside)
        row[f"mass_{quadrant}"] = math.fsum(c[j] for j in inside)
        row[f"selected_count_{quadrant}"] = sum(selected[j] == 1 for j in inside)
        row[f"selected_mass_{quadrant}"] = math.fsum(c[j] for j in inside if selected[j])
    lengths = [int(m.sum()) for b in batches for m in b["mask"]]
    rewards = [float(r) for b in batches for r in b["rewards"]]
    zero = [float(x) == 0.0 for b in batches for x in b["advantages"]]
    means, start = [], 0
    for size in lengths:
        means.append(math.fsum(entropy[start : start + size]) / size)
        start += size
    count = len(lengths)
    reward_mean = math.fsum(rewards) / count
    return row | {
        "n_tokens": n,
        "n_responses": count,
        "nonfinite_count": 0,
        "entropy_token_mean": math.fsum(entropy) / n,
        "entropy_response_mean": math.fsum(means) / count,
        "entropy_after_token_mean": math.fsum(after) / n,
        "positive_mass": math.fsum(v for v in c if v > 0),
        "negative_mass": math.fsum(v for v in c if v < 0),
        "selected_count": sum(selected),
        "selected_fraction": sum(selected) / n,
        "selected_covariance_mean": math.fsum(v for v, s in zip(c, selected, strict=True) if s)
        / sum(selected),
        "ratio_mean": math.fsum(ratio) / n,
        "ratio_max": max(ratio),
        "clipped_fraction": sum(clipped) / n,
        "kl_k1": math.fsum(o - x for o, x in zip(old, l, strict=True)) / n,
        "kl_k3": math.fsum(math.exp(x - o) - 1 - (x - o) for o, x in zip(old, l, strict=True)) / n,
        "kl_ref_k1": math.fsum(x - r for r, x in zip(ref, l, strict=True)) / n,
        "kl_ref_k3": math.fsum(math.exp(r - x) - 1 - (r - x) for r, x in zip(ref, l, strict=True)) / n,
        "reward_mean": reward_mean,
        "reward_std": math.sqrt(math.fsum((r - reward_mean) ** 2 for r in rewards) / count),
        "zero_advantage_fraction": sum(zero) / count,
        "response_length_mean": n / count,
    }
