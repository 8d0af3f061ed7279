"""The tokens of one update on the host: centred over all ranks, recorded, and turned into metrics."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from ...record.recorder import Recorder

PREFIX = "entropylab/"

_TAIL = 2e-3
"""The share of the tokens above ``cov/p99.8``: the paper's fraction for 7B."""


@dataclass(frozen=True)
class HostBatch:
    """One micro-batch on the host."""

    tokens: Mapping[str, Any]
    """[B, T] by the names of `Recorder.record`; None where the trainer has none."""
    used: Mapping[str, np.ndarray]
    """[B, T]: what a control used, by the names of `PolicyLoss.tokens`; empty where one only observes."""
    responses: Mapping[str, Any]
    """[B] by the names of `Recorder.record`."""
    metrics: Mapping[str, float]
    """For the recorder."""
    logged: Mapping[str, float]
    """For the trainer's log."""

    def valid(self, name: str) -> np.ndarray:
        """The values of the valid tokens, fp64."""
        return self.tokens[name][self.tokens["mask"]].astype(np.float64)


class UpdateLog:
    """Collects the micro-batches of an update; at its end records them and keeps metrics for the log.

    Means are over all ranks; ``cov/p99.8`` is over this rank's tokens.
    """

    def __init__(self, accelerator: Any, *, keep_covariance: bool) -> None:
        self._accelerator, self._keep_covariance = accelerator, keep_covariance
        self._batches: list[HostBatch] = []
        self._waiting: dict[str, list[float]] = defaultdict(list)

    def add(self, batch: HostBatch) -> None:
        """Keep a micro-batch until its update ends."""
        self._batches.append(batch)

    def drop(self) -> None:
        """Forget an update that did not end."""
        self._batches.clear()

    def end(self, recorder: Recorder, step: int, influence: Sequence[Any] = ()) -> float:
        """Record the update and keep its metrics; returns the mean entropy over all ranks, in nats.

        ``influence``: that of each micro-batch, or of none.
        """
        batches, self._batches = self._batches, []
        names = ("logprobs", "advantages", "entropy")
        logprobs, advantages, entropy = (np.concatenate([b.valid(n) for b in batches]) for n in names)
        own = [len(logprobs), logprobs.sum(), advantages.sum(), entropy.sum()]
        n_tokens, *sums = self._over_ranks(own)
        mean_logprob, mean_advantage, mean_entropy = (value / max(n_tokens, 1.0) for value in sums)
        used = [self._used(batch, mean_logprob, mean_advantage) for batch in batches]
        effects = influence or [None] * len(batches)
        for micro_step, (batch, tokens, effect) in enumerate(zip(batches, used, effects, strict=True)):
            recorder.record(
                step,
                _Used(tokens),
                micro_step=micro_step,
                metrics=batch.metrics,
                influence=effect,
                **batch.tokens,
                **batch.responses,
            )
        self._keep_metrics(batches, used, n_tokens)
        return mean_entropy

    def take(self) -> dict[str, float]:
        """The metrics since the last call, averaged over the steps."""
        waiting = {PREFIX + name: sum(values) / len(values) for name, values in self._waiting.items()}
        self._waiting.clear()
        return waiting

    def _used(self, batch: HostBatch, mean_logprob: float, mean_advantage: float) -> dict[str, np.ndarray]:
        """What the control used; the covariance is that of the whole update where none chose by it."""
        if self._keep_covariance and batch.used:
            return dict(batch.used)
        logprobs, advantages = (batch.tokens[name].astype(np.float64) for name in ("logprobs", "advantages"))
        return {**batch.used, "covariance": (logprobs - mean_logprob) * (advantages - mean_advantage)}

    def _keep_metrics(
        self, batches: list[HostBatch], used: list[dict[str, np.ndarray]], n_tokens: float
    ) -> None:
        masks = [batch.tokens["mask"] for batch in batches]
        covariance = np.concatenate(
            [one["covariance"][mask].astype(np.float64) for one, mask in zip(used, masks, strict=True)]
        )
        selected = np.concatenate([_selected(one, mask) for one, mask in zip(used, masks, strict=True)])
        total, chosen, of_chosen = self._over_ranks(
            [covariance.sum(), float(selected.sum()), covariance @ selected]
        )
        found = {"cov/mean": total / max(n_tokens, 1.0)}
        if len(covariance):
            found["cov/p99.8"] = upper_quantile(covariance)
        if batches[0].used:
            found |= {"selected/count": chosen, "selected/fraction": chosen / max(n_tokens, 1.0)}
            found |= {"selected/cov_mean": of_chosen / chosen} if chosen else {}
        found |= _means([batch.logged for batch in batches])
        for name, value in found.items():
            if np.isfinite(value):
                self._waiting[name].append(float(value))

    def _over_ranks(self, sums: list[float]) -> list[float]:
        """Sums over all ranks, in fp64; every rank ends its update at the same micro-step."""
        if self._accelerator.num_processes == 1:
            return [float(value) for value in sums]
        import torch
        from torch import distributed

        table = torch.tensor(sums, dtype=torch.float64, device=self._accelerator.device)
        distributed.all_reduce(table)
        return table.tolist()


def upper_quantile(values: np.ndarray) -> float:
    """The smallest of the k = ceil(0.002·n) highest values."""
    k = max(1, int(np.ceil(_TAIL * len(values) * (1.0 - 1e-12))))
    return float(np.partition(values, len(values) - k)[len(values) - k])


def _selected(used: Mapping[str, np.ndarray], mask: np.ndarray) -> np.ndarray:
    """1 for the chosen ones of the valid tokens."""
    chosen = used.get("selected")
    return np.zeros(np.count_nonzero(mask)) if chosen is None else chosen[mask].astype(np.float64)


def _means(given: list[Mapping[str, float]]) -> dict[str, float]:
    return {name: sum(one[name] for one in given) / len(given) for name in given[0]}


class _Used:
    """What the loss used, for the recorder."""

    def __init__(self, tokens: Mapping[str, Any]) -> None:
        self.tokens = tokens
