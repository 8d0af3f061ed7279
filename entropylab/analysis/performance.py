"""What a run is judged by: which of its evaluated metrics is a performance."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..record.reader import Run

ACCURACY = "accuracy"


def is_entropy(metric: str) -> bool:
    """Whether an evaluated metric is an entropy and so no performance."""
    return "entropy" in metric.lower()


def is_share(metric: str) -> bool:
    """Whether an evaluated metric is a share of the problems: an accuracy or a pass@k, by its name."""
    return metric.lower().startswith(("acc", "pass@"))


def performance_of(run: Run, split: str = "validation") -> str:
    """What a run is judged by on a split: "accuracy", else the first other metric by name, no entropy."""
    found = run.evaluations()
    names = sorted(set(found.loc[found["split"] == split, "metric"]))
    others = [name for name in names if not is_entropy(name)]
    return ACCURACY if ACCURACY in names or not others else others[0]
