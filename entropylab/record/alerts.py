"""What a run should be stopped and looked at for, from the summaries of its steps. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RECENT = 10
"""Steps whose mean is "now", and as many at the start."""
COLLAPSED = 0.1
"""Share of the entropy at the start below which it has collapsed."""
RISEN = 2.0
"""Times the entropy at the start above which a rise that goes on is told."""
MIN_STEPS = 20
AHEAD = 50
"""Steps that a collapse is forecast ahead."""
OFF_POLICY = 0.05
"""nats a token between the old and the new policy, above which their samples are not of one policy."""
ZERO_ADVANTAGES = 0.8

COLUMNS = (
    "step",
    "entropy_token_mean",
    "selected_count",
    "kl_k3",
    "zero_advantage_fraction",
    "nonfinite_count",
)
"""Summary columns that the rules look at."""

Row = Mapping[str, Any]

_START = f"the mean of its first {RECENT} steps"
_NORMAL_975 = 1.959963984540054
_CHOOSES = "minimum"
"""The setting that every control has which chooses tokens, and no other."""


@dataclass(frozen=True)
class Alert:
    """One thing to look at: its kind (a word for programs), the step it was seen at, and a sentence."""

    kind: str
    step: int
    message: str

    def __str__(self) -> str:
        return f"step {self.step}: {self.message}"


@dataclass(frozen=True)
class Decline:
    """The entropy's present rate: d ln H a step (low, high: 95 % interval), by Theil and Sen."""

    rate: float
    low: float
    high: float

    @property
    def half_life(self) -> float | None:
        """Steps in which the entropy halves; None where it is not shown to fall."""
        return float(np.log(2.0) / -self.rate) if self.high < 0 else None


def find_alerts(rows: Sequence[Row], config: Mapping[str, Any]) -> tuple[Alert, ...]:
    """The alerts of a run whose steps have these summaries, in order; config: the run's settings."""
    if not rows:
        return ()
    step = int(rows[-1]["step"])
    found = (
        _entropy(rows),
        _no_op_control(rows, config),
        _off_policy(rows),
        _no_signal(rows),
        _not_finite(rows),
    )
    return tuple(Alert(kind, step, message) for kind, message in (one for one in found if one))


def decline(entropy: np.ndarray, steps: np.ndarray) -> Decline | None:
    """The rate over the last quarter of the steps, at least 20; None with fewer or an entropy of 0."""
    n = max(MIN_STEPS, len(entropy) // 4)
    h, t = entropy[-n:], steps[-n:]
    known = np.isfinite(h)
    if known.sum() < MIN_STEPS or (h[known] <= 0).any() or np.ptp(t[known]) == 0:
        return None
    every = max(1, int(known.sum()) // 200)
    return Decline(*sen_slope(t[known][::every], np.log(h[known][::every])))


def sen_slope(x: np.ndarray, y: np.ndarray) -> tuple[float, float, float]:
    """The median of the slopes of all pairs, and its 95 % interval by ranks (Sen 1968, eq. 2.6, no ties).

    Distinct x [n]. As `scipy.stats.theilslopes`, which takes a second to import.
    """
    i, j = np.triu_indices(len(x), k=1)
    slopes = np.sort((y[j] - y[i]) / (x[j] - x[i]))
    n, pairs = len(x), len(slopes)
    reach = _NORMAL_975 * np.sqrt(n * (n - 1) * (2 * n + 5) / 18.0)
    low = max(round((pairs - reach) / 2.0) - 1, 0)
    high = min(round((pairs + reach) / 2.0), pairs - 1)
    return float(np.median(slopes)), float(slopes[low]), float(slopes[high])


def start_and_now(values: np.ndarray) -> tuple[float, float]:
    """Means of the first and of the last 10 known values; NaN where there is none."""
    known = values[np.isfinite(values)]
    if not len(known):
        return float("nan"), float("nan")
    return float(known[:RECENT].mean()), float(known[-RECENT:].mean())


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    """One column as floats, NaN where it is missing."""
    return np.array([np.nan if row.get(name) is None else row[name] for row in rows], dtype=float)


def _entropy(rows: Sequence[Row]) -> tuple[str, str] | None:
    """The entropy is gone, will be soon, or has risen and rises on."""
    entropy = column(rows, "entropy_token_mean")
    start, now = start_and_now(entropy)
    if len(rows) < MIN_STEPS or not start > 0:
        return None
    if now < COLLAPSED * start:
        text = f"the entropy has collapsed: {now:.3g} nats, {100 * now / start:.2g} % of {_START}"
        return "entropy_collapsed", text
    found = decline(entropy, column(rows, "step"))
    if found is None:
        return None
    if found.half_life is not None:
        return _forecast(start, now, found.rate, found.half_life)
    if found.low > 0 and now > RISEN * start:
        text = (
            f"the entropy has risen to {now:.3g} nats, {now / start:.2g} times {_START}, and rises on: see "
            "whether the reward does too, whether sampler and trainer agree, and how strong the control is"
        )
        return "entropy_rising", text
    return None


def _forecast(start: float, now: float, rate: float, half_life: float) -> tuple[str, str] | None:
    left = np.log(now / (COLLAPSED * start)) / -rate
    if left > AHEAD:
        return None
    text = (
        f"at its present rate the entropy ({now:.3g} nats, {100 * now / start:.2g} % of {_START}) falls "
        f"below {100 * COLLAPSED:g} % of that in about {max(left, 1.0):.0f} steps "
        f"(it halves every {half_life:.0f} steps)"
    )
    return "collapse_forecast", text


def _no_op_control(rows: Sequence[Row], config: Mapping[str, Any]) -> tuple[str, str] | None:
    control = config.get("control")
    controls = control if isinstance(control, list) else [control]
    names = [str(c.get("name")) for c in controls if isinstance(c, Mapping) and _CHOOSES in c]
    selected = column(rows[-RECENT:], "selected_count")
    if not names or len(rows) < RECENT or np.nansum(selected) > 0:
        return None
    text = (
        f"{' and '.join(names)} selected no token in the last {RECENT} steps: the run is the one without it"
    )
    return "no_op_control", text


def _off_policy(rows: Sequence[Row]) -> tuple[str, str] | None:
    kl = column(rows[-RECENT:], "kl_k3")
    if not np.isfinite(kl).any() or not np.nanmean(kl) > OFF_POLICY:
        return None
    text = (
        f"old and new logprobs differ by a KL of {np.nanmean(kl):.2g} nats a token: sampler and trainer "
        "disagree, or the rollouts are too old"
    )
    return "off_policy", text


def _no_signal(rows: Sequence[Row]) -> tuple[str, str] | None:
    zero = column(rows[-RECENT:], "zero_advantage_fraction")
    if not np.isfinite(zero).any() or not np.nanmean(zero) > ZERO_ADVANTAGES:
        return None
    text = (
        f"{100 * np.nanmean(zero):.0f} % of the responses have no advantage: their prompts are solved always "
        "or never, and teach nothing"
    )
    return "zero_advantages", text


def _not_finite(rows: Sequence[Row]) -> tuple[str, str] | None:
    count = int(np.nansum(column(rows[-RECENT:], "nonfinite_count")))
    if not count:
        return None
    return "nonfinite_values", f"{count} values of the last {RECENT} steps are not finite"
