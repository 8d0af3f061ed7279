"""How a run stands: entropy spent and its half-life, the share of the law's gain that is used, alerts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import InsufficientDataError
from ..record.alerts import COLUMNS, RECENT, Alert, Decline, decline, find_alerts, start_and_now
from .jsonable import jsonable

if TYPE_CHECKING:
    import pandas as pd

    from ..record.reader import Run


@dataclass(frozen=True)
class Health:
    """How a run stands at its last step.

    entropy_start, entropy_now: means over 10 steps, nats. decline: d ln H a step over the last quarter, None
    where it cannot be told. gain_used = (exp(H start) - exp(H now)) / (exp(H start) - 1): the share of the
    gain down to H = 0 that the law R = -a exp(H) + b says is used; it needs neither a nor b, but the law.
    selected_fraction, zero_advantage_fraction: shares over the last 10 steps, None where not recorded.
    """

    run: str
    method: str
    n_steps: int
    last_step: int
    entropy_start: float | None
    entropy_now: float | None
    decline: Decline | None
    gain_used: float | None
    selected_fraction: float | None
    zero_advantage_fraction: float | None
    alerts: tuple[Alert, ...]

    @property
    def entropy_left(self) -> float | None:
        """entropy_now / entropy_start."""
        if self.entropy_now is None or not self.entropy_start:
            return None
        return self.entropy_now / self.entropy_start

    @property
    def verdict(self) -> str:
        """One word: "collapsed", "collapsing", "falling", "steady", "rising" or "unknown"."""
        kinds = {alert.kind for alert in self.alerts}
        if "entropy_collapsed" in kinds:
            return "collapsed"
        if "collapse_forecast" in kinds:
            return "collapsing"
        if self.decline is None:
            return "unknown"
        if self.decline.low > 0:
            return "rising"
        return "falling" if self.decline.high < 0 else "steady"

    def summary(self) -> str:
        """The entropy in one sentence, then a line an alert."""
        lines = [f"{self.run}: {self._entropy_sentence()}"]
        return "\n".join([*lines, *(f"Alert: {alert.message}." for alert in self.alerts)])

    def _entropy_sentence(self) -> str:
        if self.entropy_now is None or self.entropy_left is None:
            return f"{self.n_steps} steps, no entropy recorded."
        text = (
            f"{self.verdict}; entropy {self.entropy_start:.3g} -> {self.entropy_now:.3g} nats "
            f"({100 * self.entropy_left:.3g} % left; means of {RECENT} steps) at step {self.last_step}"
        )
        if self.decline is not None:
            half = self.decline.half_life
            text += ", not shown to fall now" if half is None else f", now halving every {half:.0f} steps"
        if self.gain_used is not None:
            text += f"; {100 * self.gain_used:.3g} % of the gain that the law allows is used, if it holds"
        return f"{text}."

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        half = None if self.decline is None else self.decline.half_life
        shown = {"decline": self.decline and vars(self.decline), "alerts": [vars(a) for a in self.alerts]}
        more = {"verdict": self.verdict, "entropy_left": self.entropy_left, "half_life": half}
        return jsonable({**values, **shown, **more})


def run_health(run: Run) -> Health:
    """How a run stands; InsufficientDataError for a run without a whole step."""
    return health_of(run.steps(), name=run.name, method=run.method, config=run.config)


def health_of(steps: pd.DataFrame, *, name: str, method: str, config: dict[str, Any]) -> Health:
    """The same from the summaries of `Run.steps`."""
    if steps.empty:
        raise InsufficientDataError(f"run {name!r} has no whole step yet: record some first")
    ordered = steps.sort_values("step")
    entropy = ordered["entropy_token_mean"].to_numpy(dtype=float)
    start, now = start_and_now(entropy)
    known = np.isfinite(entropy).any()
    rows = [dict(zip(COLUMNS, row, strict=True)) for row in zip(*(ordered[c] for c in COLUMNS), strict=True)]
    recent = ordered.tail(10)
    return Health(
        run=name,
        method=method,
        n_steps=len(ordered),
        last_step=int(ordered["step"].iloc[-1]),
        entropy_start=start if known else None,
        entropy_now=now if known else None,
        decline=decline(entropy, ordered["step"].to_numpy(dtype=float)),
        gain_used=_gain_used(start, now),
        selected_fraction=_share(recent["selected_count"].sum(), recent["n_tokens"].sum()),
        zero_advantage_fraction=_mean(recent["zero_advantage_fraction"]),
        alerts=find_alerts(rows, config),
    )


def _gain_used(start: float, now: float) -> float | None:
    """None where the entropy is unknown, began at 0 or has risen."""
    if not start > 0 or now > start:
        return None
    return float((np.exp(start) - np.exp(now)) / np.expm1(start))


def _share(part: float, whole: float) -> float | None:
    return float(part) / float(whole) if whole else None


def _mean(values: pd.Series) -> float | None:
    known = values.dropna()
    return float(known.mean()) if len(known) else None
