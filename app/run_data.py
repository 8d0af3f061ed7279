"""What the pages read of a run: frames and results, kept until its folder changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st
from kept_run import reader
from run_finder import Entry

if TYPE_CHECKING:
    from entropylab.analysis.attribution import Attribution
    from entropylab.analysis.comparison import Comparison
    from entropylab.analysis.curve import CurveFit
    from entropylab.analysis.curve_forecast import CurveForecast
    from entropylab.analysis.tails import TailReport

TOKEN_STEPS = 20
"""Steps whose token rows are read at once."""


def steps(entry: Entry) -> pd.DataFrame:
    """The summary of every step."""
    return reader(entry.path).steps()


def evaluations(entry: Entry) -> pd.DataFrame:
    """Every evaluation, long form."""
    return reader(entry.path).evaluations()


def validation_metrics(entry: Entry) -> list[str]:
    """Names of the metrics evaluated on the split "validation"."""
    found = evaluations(entry)
    return found.loc[found["split"] == "validation", "metric"].unique().tolist()


def points(entry: Entry, metric: str, entropy: str) -> pd.DataFrame:
    """The points of the law: step, entropy, performance, n."""
    return _points(entry.path, entry.stamp, metric, entropy)


def law(entry: Entry, metric: str, entropy: str) -> CurveFit:
    """The law fitted on all evaluations."""
    return _law(entry.path, entry.stamp, metric, entropy)


def forecast(entry: Entry, metric: str, entropy: str, first: int) -> CurveForecast:
    """The law fitted on the first evaluations, and what it says about the others."""
    return _forecast(entry.path, entry.stamp, metric, entropy, first)


def token_steps(entry: Entry, *, last: bool) -> tuple[int, ...]:
    """The first or the last steps that have token rows, as many as a report reads."""
    held = reader(entry.path).token_steps()
    return tuple(held[-TOKEN_STEPS:] if last else held[:TOKEN_STEPS])


def tails(entry: Entry, chosen: tuple[int, ...]) -> TailReport:
    """The tail report of the token rows of some steps."""
    return _tails(entry.path, entry.stamp, chosen)


def selection(entry: Entry, chosen: tuple[int, ...]) -> Attribution:
    """Which tokens of some steps were selected, and which carry the tail."""
    return _selection(entry.path, entry.stamp, chosen)


def comparison(entries: Sequence[Entry]) -> Comparison:
    """The runs beside each other."""
    return _comparison(tuple((e.path, e.stamp) for e in entries))


@st.cache_data(show_spinner=False, max_entries=500)
def _points(path: str, stamp: float, metric: str, entropy: str) -> pd.DataFrame:
    from entropylab.analysis.curve_data import law_points

    return law_points(reader(path), metric=metric, entropy=entropy)


@st.cache_data(show_spinner="Fitting the law", max_entries=500)
def _law(path: str, stamp: float, metric: str, entropy: str) -> CurveFit:
    from entropylab.analysis.curve_data import fit_run

    return fit_run(reader(path), metric=metric, entropy=entropy)


@st.cache_data(show_spinner="Fitting the first evaluations", max_entries=500)
def _forecast(path: str, stamp: float, metric: str, entropy: str, first: int) -> CurveForecast:
    from entropylab.analysis.curve_data import warn_intervention
    from entropylab.analysis.curve_forecast import forecast_curve

    run, chosen = reader(path), _points(path, stamp, metric, entropy)
    made = forecast_curve(chosen["entropy"], chosen["performance"], first=first, steps=chosen["step"])
    warnings = (*made.fit.warnings, *warn_intervention(run.method, run.config))
    return replace(made, fit=replace(made.fit, warnings=warnings))


@st.cache_data(show_spinner="Reading token rows and testing their tails", max_entries=50)
def _tails(path: str, stamp: float, chosen: tuple[int, ...]) -> TailReport:
    from entropylab.analysis.tail_data import analyze_run

    return analyze_run(reader(path), steps=chosen or None)


@st.cache_data(show_spinner="Reading token rows of the selection", max_entries=50)
def _selection(path: str, stamp: float, chosen: tuple[int, ...]) -> Attribution:
    from entropylab.analysis.attribution import attribute

    return attribute(reader(path), steps=chosen or None)


@st.cache_data(show_spinner="Comparing the runs", max_entries=50)
def _comparison(runs: tuple[tuple[str, float], ...]) -> Comparison:
    from entropylab.analysis.comparison import compare_runs

    return compare_runs([reader(path) for path, _ in runs])
