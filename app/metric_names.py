"""How quantities of the log are called on the page."""

from __future__ import annotations

from collections.abc import Collection

from entropylab.analysis.performance import is_entropy, is_share

METRICS = {
    "accuracy": "accuracy (T=1)",
    "accuracy_greedy": "accuracy (greedy)",
    "pass@8": "pass@8",
}
"""Evaluation metrics in the order in which they are shown."""

ENTROPIES = {
    "entropy_token_mean": "mean over tokens",
    "entropy_response_mean": "mean over responses",
}

QUADRANTS = {
    "low_above": "Low probability, advantage above",
    "high_above": "High probability, advantage above",
    "low_below": "Low probability, advantage below",
    "high_below": "High probability, advantage below",
}


def metric_label(metric: str) -> str:
    """A metric as people read it; one that is not known keeps its own name."""
    return METRICS.get(metric, metric)


def metric_title(metric: str) -> str:
    """The same above a panel or a column."""
    label = metric_label(metric)
    return label[:1].upper() + label[1:]


def unit(metric: str) -> str:
    """The unit of an evaluation metric; nothing where it is not known."""
    if is_share(metric):
        return "share of problems"
    return "nats" if is_entropy(metric) else ""


def performances(metrics: Collection[str]) -> list[str]:
    """`in_order` without the entropies."""
    return in_order([metric for metric in metrics if not is_entropy(metric)])


def in_order(metrics: Collection[str]) -> list[str]:
    """The known metrics first, in their order, then the others."""
    return [m for m in METRICS if m in metrics] + sorted(m for m in metrics if m not in METRICS)
