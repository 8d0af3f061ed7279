"""Which of verl's validation metrics a run keeps as evaluations."""

from __future__ import annotations

import math
from collections.abc import Mapping

_CORE = "val-core/"


def evaluations(metrics: Mapping[str, float]) -> dict[str, float]:
    """Evaluations by name from the metrics of verl's ``_validate``.

    verl names them ``val-core/<data source>/<variable>/mean@<n>``; they keep the part after ``val-core/``.
    Where there is one accuracy (variable ``acc``, a mean), it is kept as ``accuracy`` too, the metric that
    ``entropylab fit`` looks for. Values that are not finite are left out.
    """
    core = {
        name.removeprefix(_CORE): float(value)
        for name, value in metrics.items()
        if name.startswith(_CORE) and math.isfinite(value)
    }
    means = [value for name, value in core.items() if "/acc/mean@" in name]
    named = {name: value for name, value in core.items() if len(name) <= _LONGEST}
    return named | ({"accuracy": means[0]} if len(means) == 1 else {})


_LONGEST = 60
"""Longest name of an evaluation's metric."""
