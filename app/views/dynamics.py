"""Dynamics: does the covariance predict what the entropy does, step by step?"""

from __future__ import annotations

import math

import dynamics_charts
import guide
import page_style
import run_data
import run_picker
import streamlit as st
from chart_look import draw
from notices import in_words
from page_style import Tile
from run_finder import Entry
from wording import interval_text, number, percent

from entropylab.analysis.dynamics import Dynamics, sign_text
from entropylab.analysis.dynamics_series import OBSERVED, PREDICTORS
from entropylab.analysis.robust_line import MIN_BLOCKS


def page() -> None:
    """One run's predicted and observed change."""
    run_box, observed_box, predictor_box, window_box = st.columns([2, 2, 2, 1], vertical_alignment="bottom")
    with run_box:
        entry = run_picker.focus_run()
    with in_words(entry.name):
        result = run_data.dynamics(entry)
        observed = _observed(result, observed_box)
        predictor = predictor_box.selectbox(
            "Predicted by", list(PREDICTORS), key="predictor", format_func=PREDICTORS.get, bind="query-params"
        )
        windows = sorted(result.fits["window"].unique().tolist())
        window = window_box.selectbox("Window, steps", windows, key="window", bind="query-params")
        one_run(entry, result, observed, predictor, int(window))
    guide.how_to_read("Dynamics")


def one_run(entry: Entry, result: Dynamics, observed: str, predictor: str, window: int) -> None:
    """Sentence, tiles, scatter, slopes over windows, the cumulated curves."""
    page_style.opening(f"{entry.name}: {_sentence(result, observed, predictor, window)}", _cumulated(result))
    _tiles(result, observed, predictor, window)
    style = run_picker.style_of(entry)
    left, right = st.columns([3, 2], gap="large")
    scatter = dynamics_charts.scatter_figure(result, observed, predictor, window, style)
    draw(scatter, "dynamics_scatter", left, data=result.series)
    draw(dynamics_charts.windows_figure(result, observed, predictor, style), "dynamics_windows", right)
    cumulated = dynamics_charts.cumulated_figure(result, observed, predictor, style)
    draw(cumulated, "dynamics_cumulated", data=result.series)
    page_style.warn(result.warnings)
    with st.expander("Every fit"):
        st.dataframe(result.fits, hide_index=True, placeholder="–")


def _sentence(result: Dynamics, observed: str, predictor: str, window: int) -> str:
    row = result.fit(observed, predictor, window)
    where = OBSERVED[observed].split(",")[0]
    if not math.isfinite(row["slope"]):
        return f"cannot say: {row['n']:.0f} windows of {window} steps hold both, a slope needs {MIN_BLOCKS}."
    over = "single steps" if window == 1 else f"windows of {window} steps"
    return (
        f"the drop of the entropy changes by {row['slope']:+.3g} nats ({percent(result.level)}: {row['low']:.3g} to "
        f"{row['high']:.3g}) a unit of {PREDICTORS[predictor]}, {where}; r = {row['r']:.2f} over {over}: "
        f"{sign_text(row)}."
    )


def _cumulated(result: Dynamics) -> str:
    return next((line for line in result.summary().splitlines() if line.startswith("Cumulated")), "")


def _observed(result: Dynamics, place: st.delta_generator.DeltaGenerator) -> str:
    held = [name for name in OBSERVED if result.series[name].notna().any()] or list(OBSERVED)
    if st.session_state.get("observed") not in held:
        st.session_state.pop("observed", None)
    return place.selectbox(
        "Drop of the entropy",
        held,
        key="observed",
        format_func=lambda name: OBSERVED[name].split(",")[0],
        bind="query-params",
    )


def _tiles(result: Dynamics, observed: str, predictor: str, window: int) -> None:
    row = result.fit(observed, predictor, window)
    cumulative = result.cumulative
    told = cumulative[(cumulative["observed"] == observed) & (cumulative["predictor"] == predictor)].iloc[0]
    page_style.tiles(
        [
            Tile("Implied step size", number(row["slope"], 4), [interval_text((row["low"], row["high"]), 4)]),
            Tile("Correlation", number(row["r"], 2), [f"over windows of {window} steps"]),
            Tile("Windows", f"{row['n']:.0f}", [f"of {result.n_steps} steps"]),
            Tile("Cumulated", number(told["r"], 2), [f"in random order {number(told['shuffled_r'], 2)}"]),
        ]
    )


page()
