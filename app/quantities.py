"""The quantities of the overview: what they are called, and their series of a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import metric_names
import pandas as pd
import run_data
from run_finder import Entry
from wording import number, share

from entropylab.errors import UnknownNameError
from entropylab.schema import SUMMARY_COLUMNS

MAX_METRICS = 3
VALIDATION = "validation/"


@dataclass(frozen=True)
class Quantity:
    """One quantity over the steps: its short name, unit, how its values are written, what they tell."""

    name: str
    unit: str
    digits: int = 3
    is_share: bool = False
    zero_line: bool = False
    from_zero: bool = False
    tells: str = ""

    @property
    def title(self) -> str:
        """Name and unit, for a chart."""
        return f"{self.name}, {self.unit}" if self.unit else self.name

    @property
    def hover(self) -> str:
        """Plotly's format of a value."""
        return ".2%" if self.is_share else f".{self.digits}f"

    def write(self, value: float) -> str:
        """A value as text."""
        return share(value) if self.is_share else number(value, self.digits)


ENTROPY = Quantity("Entropy H", "nats", from_zero=True, tells="Flat near 0: collapsed, nothing new is tried.")
REWARD = Quantity(
    "Training reward", "mean over responses", tells="Of the prompts trained on, not of held-out ones."
)
COVARIANCE = Quantity(
    "Mean covariance", "nats × advantage", 4, zero_line=True, tells="Above 0: the step lowers the entropy."
)
SELECTED = Quantity(
    "Tokens selected",
    "share of all",
    is_share=True,
    from_zero=True,
    tells="A baseline chooses none; a control that stays at 0 does nothing.",
)
_METRIC_TELLS = {
    "accuracy": "What a policy gains while its entropy falls.",
    "accuracy_greedy": "The likeliest answer alone: it does not see lost variety.",
    "pass@8": "Falls where the samples of a problem become alike.",
}

Read = Callable[[Entry], pd.DataFrame]


def found_in(entries: Sequence[Entry]) -> list[tuple[Quantity, dict[Entry, pd.DataFrame]]]:
    """Each quantity that some run has, with the series of the runs that have it."""
    held = {m for e in entries for m in run_data.validation_metrics(e)}
    metrics = metric_names.performances(held)[:MAX_METRICS]
    wanted: list[tuple[Quantity, Read]] = [(ENTROPY, _of_steps("entropy_token_mean"))]
    wanted += [_of_evaluations(metric) for metric in metrics] or [(REWARD, _of_steps("reward_mean"))]
    wanted += [(COVARIANCE, _of_steps("covariance_mean")), (SELECTED, _of_steps("selected_fraction"))]
    series = [(quantity, _known(entries, read)) for quantity, read in wanted]
    return [(quantity, known) for quantity, known in series if known]


KNOWN = {"entropy_token_mean": ENTROPY, "reward_mean": REWARD, "covariance_mean": COVARIANCE}
_UNITS = {column.name: column.unit for column in SUMMARY_COLUMNS}


def named(name: str) -> Quantity:
    """A column of the summaries, or ``validation/`` and a metric, as a quantity."""
    if name in KNOWN:
        return KNOWN[name]
    if name.startswith(VALIDATION):
        return _of_evaluations(name.removeprefix(VALIDATION))[0]
    if name == "selected_fraction":
        return SELECTED
    unit = _UNITS.get(name, "")
    words = name.removeprefix("metrics/").replace("_", " ") if unit else name
    shown = f"{words[:1].upper()}{words[1:]}" if unit else words
    return Quantity(shown, "" if unit == "-" else unit.replace(" x ", " × "), digits=4)


def series_of(entries: Sequence[Entry], name: str) -> dict[Entry, pd.DataFrame]:
    """The series of one quantity of the runs that have it."""
    if name.startswith(VALIDATION):
        return _known(entries, _of_evaluations(name.removeprefix(VALIDATION))[1])
    return _known(entries, _of_steps(name))


def ends(frame: pd.DataFrame) -> tuple[pd.Series, pd.Series]:
    """The first and the last row with a value."""
    known = frame.dropna(subset=["value"])
    return known.iloc[0], known.iloc[-1]


def _known(entries: Iterable[Entry], read: Read) -> dict[Entry, pd.DataFrame]:
    """The series of the runs that have the quantity at all."""
    series = {}
    for entry in entries:
        try:
            frame = read(entry)
        except UnknownNameError:
            continue
        if frame["value"].notna().any():
            series[entry] = frame
    return series


def _of_steps(column: str) -> Read:
    return lambda entry: run_data.step_series(entry, column)


def _of_evaluations(metric: str) -> tuple[Quantity, Read]:
    name = metric_names.metric_title(metric)
    quantity = Quantity(name, metric_names.unit(metric), tells=_METRIC_TELLS.get(metric, ""))
    return quantity, lambda entry: run_data.evaluation_series(entry, metric)
