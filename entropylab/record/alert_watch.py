"""The alerts of a recorder's own steps, each told once while it lasts."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from .alerts import COLUMNS, Alert, find_alerts
from .marker import Marker
from .summary import Partial, finish


class AlertWatch:
    """Keeps what the rules look at of every step, and tells the alerts that were not there a step ago."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._config = config
        self._rows: list[dict[str, Any]] = []
        self._active: frozenset[str] = frozenset()

    def see(self, marker: Marker) -> list[Alert]:
        """The new alerts once a step has been written."""
        whole = reduce(Partial.merge, (update.partial for update in marker.updates), Partial())
        row = {**finish(whole), "step": marker.step}
        self._rows.append({name: row.get(name) for name in COLUMNS})
        found = find_alerts(self._rows, self._config)
        new = [alert for alert in found if alert.kind not in self._active]
        self._active = frozenset(alert.kind for alert in found)
        return new
