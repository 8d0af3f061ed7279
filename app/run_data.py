"""What the pages read of a run: frames and results, kept until its folder changes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st
from kept_run import reader
from run_finder import Entry

from entropylab.analysis import trajectories

if TYPE_CHECKING:
    from entropylab.analysis.attribution import Attribution
    from entropylab.analysis.comparison import Comparison
    from entropylab.analysis.curve import CurveFit
    from entropylab.analysis.curve_alternatives import Alternatives
    from entropylab.analysis.curve_forecast import CurveForecast
    from entropylab.analysis.dynamics import Dynamics
    from entropylab.analysis.health import Health
    from entropylab.analysis.proxy_audit import ProxyAudit
    from entropylab.analysis.replay_report import Replay
    from entropylab.analysis.tails import TailReport
    from entropylab.record.problem import Problem

TOKEN_STEPS = 20
"""Steps whose token rows are read at once."""


def steps(entry: Entry) -> pd.DataFrame:
    """The summary of every step."""
    return reader(entry.path).steps()


def evaluations(entry: Entry) -> pd.DataFrame:
    """Every evaluation, long form."""
    return reader(entry.path).evaluations()


def step_series(entry: Entry, column: str) -> pd.DataFrame:
    """One summary column over the steps."""
    return _step_series(entry.path, entry.stamp, column)


def evaluation_series(entry: Entry, metric: str) -> pd.DataFrame:
    """One metric of the split "validation" over the steps."""
    return _evaluation_series(entry.path, entry.stamp, metric)


def config(entry: Entry) -> dict[str, Any]:
    """The settings of the run's newest attempt."""
    return reader(entry.path).config


def health(entry: Entry) -> Health:
    """How the run stands at its last step."""
    return _health(entry.path, entry.stamp)


def dynamics(entry: Entry) -> Dynamics:
    """What the covariance predicts for the entropy, and what the entropy did."""
    return _dynamics(entry.path, entry.stamp)


def influence_steps(entry: Entry) -> tuple[int, ...]:
    """The steps with the influence of their tokens."""
    return _influence_steps(entry.path, entry.stamp)


def audit(entry: Entry, fraction: float) -> ProxyAudit:
    """How well the proxies rank the tokens by their recorded influence, each choosing such a fraction."""
    return _audit(entry.path, entry.stamp, fraction)


def replayed(entry: Entry, settings: str, chosen: tuple[int, ...], pieces: tuple[int, ...]) -> Replay:
    """What a control, given by its settings as JSON, would have chosen on the token rows of some steps."""
    return _replay(entry.path, entry.stamp, settings, chosen, pieces)


def step_tokens(entry: Entry, step: int) -> pd.DataFrame:
    """The tokens of a step with their texts and quadrants."""
    return _step_tokens(entry.path, entry.stamp, step)


def responses(entry: Entry, step: int) -> pd.DataFrame:
    """The responses of a step."""
    return _responses(entry.path, entry.stamp, step)


def scale(entry: Entry, quantity: str) -> tuple[float, float, list[int]]:
    """The colour scale of a quantity over the whole run, and the steps it was taken from."""
    return _scale(entry.path, entry.stamp, quantity)


def all_problems(entry: Entry) -> list[Problem]:
    """Everything that is wrong with the folder, every row file opened."""
    return _all_problems(entry.path, entry.stamp)


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


def shapes(entry: Entry, metric: str, entropy: str) -> Alternatives:
    """The law beside other shapes of the curve."""
    return _shapes(entry.path, entry.stamp, metric, entropy)


def forecast(entry: Entry, metric: str, entropy: str, first: int) -> CurveForecast:
    """The law fitted on the first evaluations, and what it says about the others."""
    return _forecast(entry.path, entry.stamp, metric, entropy, first)


def all_token_steps(entry: Entry) -> tuple[int, ...]:
    """The steps that have token rows."""
    return tuple(reader(entry.path).token_steps())


def token_steps(entry: Entry, *, last: bool) -> tuple[int, ...]:
    """The first or the last steps that have token rows, as many as a report reads."""
    held = all_token_steps(entry)
    return held[-TOKEN_STEPS:] if last else held[:TOKEN_STEPS]


def folder_facts(entry: Entry) -> dict[str, Any]:
    """What a run folder holds: steps, tokens, stored rows, bytes, files, attempts, ranks, sampling."""
    return _folder_facts(entry.path, entry.stamp)


def tails(entry: Entry, chosen: tuple[int, ...]) -> TailReport:
    """The tail report of the token rows of some steps."""
    return _tails(entry.path, entry.stamp, chosen)


def selection(entry: Entry, chosen: tuple[int, ...]) -> Attribution:
    """Which tokens of some steps were selected, and which carry the tail."""
    return _selection(entry.path, entry.stamp, chosen)


def comparison(entries: Sequence[Entry]) -> Comparison:
    """The runs beside each other."""
    return _comparison(tuple((e.path, e.stamp) for e in entries))


@st.cache_data(show_spinner=False, max_entries=2000)
def _step_series(path: str, stamp: float, column: str) -> pd.DataFrame:
    return trajectories.step_series(reader(path).steps(), column)


@st.cache_data(show_spinner=False, max_entries=2000)
def _evaluation_series(path: str, stamp: float, metric: str) -> pd.DataFrame:
    run = reader(path)
    return trajectories.evaluation_series(run.evaluations(), run.steps(), metric)


@st.cache_data(show_spinner=False, max_entries=500)
def _points(path: str, stamp: float, metric: str, entropy: str) -> pd.DataFrame:
    from entropylab.analysis.curve_data import law_points

    return law_points(reader(path), metric=metric, entropy=entropy)


@st.cache_data(show_spinner="Fitting the law", max_entries=500)
def _law(path: str, stamp: float, metric: str, entropy: str) -> CurveFit:
    from entropylab.analysis.curve_data import fit_run

    return fit_run(reader(path), metric=metric, entropy=entropy)


@st.cache_data(show_spinner="Fitting the other shapes of the curve", max_entries=500)
def _shapes(path: str, stamp: float, metric: str, entropy: str) -> Alternatives:
    return _law(path, stamp, metric, entropy).alternatives


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


@st.cache_data(show_spinner=False, max_entries=500)
def _health(path: str, stamp: float) -> Health:
    from entropylab.analysis.health import run_health

    return run_health(reader(path))


@st.cache_data(show_spinner="Reading token rows for the predicted change", max_entries=50)
def _dynamics(path: str, stamp: float) -> Dynamics:
    from entropylab.analysis.dynamics import entropy_dynamics

    return entropy_dynamics(reader(path))


@st.cache_data(show_spinner="Looking for influence in the token rows", max_entries=500)
def _influence_steps(path: str, stamp: float) -> tuple[int, ...]:
    from entropylab.analysis.proxy_rankings import influence_steps

    return influence_steps(reader(path))


@st.cache_data(show_spinner="Ranking the tokens by influence and by its proxies", max_entries=100)
def _audit(path: str, stamp: float, fraction: float) -> ProxyAudit:
    from entropylab.analysis.proxy_audit import audit_proxies

    return audit_proxies(reader(path), fraction=fraction)


@st.cache_data(show_spinner="Choosing the tokens again", max_entries=100)
def _replay(
    path: str, stamp: float, settings: str, chosen: tuple[int, ...], pieces: tuple[int, ...]
) -> Replay:
    from entropylab.analysis.replay_report import replay
    from entropylab.losses.settings import from_dict

    control = from_dict(json.loads(settings))
    return replay(reader(path), control, steps=chosen or None, micro_batches=pieces)


@st.cache_data(show_spinner="Reading the tokens of the step", max_entries=20)
def _step_tokens(path: str, stamp: float, step: int) -> pd.DataFrame:
    from entropylab.analysis.responses import step_tokens

    return step_tokens(reader(path), step)


@st.cache_data(show_spinner="Reading the responses of the step", max_entries=20)
def _responses(path: str, stamp: float, step: int) -> pd.DataFrame:
    from entropylab.analysis.responses import response_table

    return response_table(reader(path), _step_tokens(path, stamp, step))


@st.cache_data(show_spinner="Looking at the run for a colour scale", max_entries=100)
def _scale(path: str, stamp: float, quantity: str) -> tuple[float, float, list[int]]:
    from entropylab.analysis.responses import quantity_scale

    return quantity_scale(reader(path), quantity)


@st.cache_data(show_spinner="Opening every file of the run", max_entries=100)
def _all_problems(path: str, stamp: float) -> list[Problem]:
    return reader(path).problems(pages=False)


@st.cache_data(show_spinner="Measuring the run folders", max_entries=500)
def _folder_facts(path: str, stamp: float) -> dict[str, Any]:
    from entropylab.analysis.folder_facts import folder_facts

    return folder_facts(reader(path))
