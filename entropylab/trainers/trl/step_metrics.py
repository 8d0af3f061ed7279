"""The metrics of a step, in the trainer's own log: covariance, and what a control chose."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import numpy as np

PREFIX = "entropylab/"
_TAIL = 2e-3
"""The share of the tokens above ``cov/p99.8``: the paper's fraction for 7B."""


class StepMetrics:
    """Collects the tokens of one update, then keeps its metrics until the trainer logs.

    Means are over all ranks; ``cov/p99.8`` is over this rank's tokens.
    """

    def __init__(self, accelerator: Any) -> None:
        self._accelerator = accelerator
        self._tokens: list[tuple[np.ndarray, ...]] = []
        self._scalars: dict[str, list[float]] = defaultdict(list)
        self._waiting: dict[str, list[float]] = defaultdict(list)

    def add(self, host: dict[str, np.ndarray], scalars: dict[str, float]) -> None:
        """Keep a micro-batch: arrays [B, T] by name, and numbers to be averaged."""
        mask = host["mask"]
        entropy, advantages = host["entropy"][mask], host["advantages"][mask]
        selected = host["selected"][mask] if "selected" in host else np.empty(0, dtype=bool)
        self._tokens.append((host["logprobs"][mask], advantages, entropy, selected))
        for name, value in scalars.items():
            self._scalars[name].append(value)

    def end_update(self, *, controlled: bool) -> float:
        """Turn what was collected into metrics; returns the mean entropy over all ranks, in nats."""
        logprobs, advantages, entropy, selected = (
            np.concatenate(parts).astype(np.float64) for parts in zip(*self._tokens, strict=True)
        )
        self._tokens.clear()
        n_own = len(logprobs)
        sums = [n_own, logprobs.sum(), advantages.sum(), entropy.sum(), selected.sum()]
        n, l, a, h, chosen = self._over_ranks(sums)
        n = max(n, 1.0)
        covariance = (logprobs - l / n) * (advantages - a / n)
        total, of_chosen = self._over_ranks([covariance.sum(), covariance[: len(selected)] @ selected])
        found = {"cov/mean": total / n}
        if n_own:
            found["cov/p99.8"] = _upper_quantile(covariance)
        if controlled and len(selected):
            found |= {"selected/count": chosen, "selected/fraction": chosen / n}
            found |= {"selected/cov_mean": of_chosen / chosen} if chosen else {}
        found |= {name: sum(values) / len(values) for name, values in self._scalars.items()}
        for name, value in found.items():
            if np.isfinite(value):
                self._waiting[name].append(float(value))
        self._scalars.clear()
        return h / n

    def take(self) -> dict[str, float]:
        """The metrics since the last call, averaged over the steps."""
        waiting = {PREFIX + name: sum(values) / len(values) for name, values in self._waiting.items()}
        self._waiting.clear()
        return waiting

    def _over_ranks(self, sums: list[float]) -> list[float]:
        """Sums over all ranks, in fp64; every rank ends its update at the same micro-step."""
        if self._accelerator.num_processes == 1:
            return [float(value) for value in sums]
        import torch
        from torch import distributed

        table = torch.tensor(sums, dtype=torch.float64, device=self._accelerator.device)
        distributed.all_reduce(table)
        return table.tolist()


def _upper_quantile(values: np.ndarray) -> float:
    """The smallest of the k = ceil(0.002·n) highest values."""
    k = max(1, int(np.ceil(_TAIL * len(values) * (1.0 - 1e-12))))
    return float(np.partition(values, len(values) - k)[len(values) - k])
