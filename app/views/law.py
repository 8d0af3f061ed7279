"""Law: does performance follow R = -a exp(H) + b, where is the ceiling, how far can the line be trusted?"""

from __future__ import annotations

import guide
import law_charts
import metric_names
import page_style
import pandas as pd
import run_data
import run_picker
import streamlit as st
from chart_look import draw, is_dark
from notices import escaped, in_words
from page_style import Tile
from run_finder import Entry
from wording import interval_text, number

from entropylab.analysis.curve import CurveFit
from entropylab.analysis.curve_text import left_out
from entropylab.errors import InsufficientDataError

MIN_FIRST = 4


def page() -> None:
    """One run's law, then the chosen runs beside each other."""
    run_box, metric_box, entropy_box = st.columns([2, 1.5, 1.5])
    with run_box:
        entry = run_picker.focus_run()
    with in_words(entry.name):
        metric = _metric(entry, metric_box)
        entropy = _entropy(entropy_box)
        points = run_data.points(entry, metric, entropy)
        one_run(entry, metric, points, entropy)
        other_shapes(entry, metric, entropy)
        with in_words("The chosen runs"):
            every_run(metric, entropy)
    guide.how_to_read("Law")


def one_run(entry: Entry, metric: str, points: pd.DataFrame, entropy: str) -> None:
    """Sentence, tiles, chart and warnings of the run in focus; the slider stands between them."""
    above = st.container()
    first = _first(len(points))
    later = run_data.forecast(entry, metric, entropy, first) if first else None
    fit = later.fit if later else run_data.law(entry, metric, entropy)
    with above:
        summary = (later or fit).summary().splitlines()
        page_style.opening(f"{entry.name}: {summary[0]}", " ".join(summary[1 : 3 if later else 2]))
        _tiles(fit)
    style = run_picker.style_of(entry)
    label = metric_names.metric_label(metric)
    figure = law_charts.law_figure(fit, style, metric=label, later=later and later.points, dark=is_dark())
    draw(figure, "law_chart")
    page_style.warn([*fit.warnings, *left_out(fit)])


def other_shapes(entry: Entry, metric: str, entropy: str) -> None:
    """On request the law beside other shapes, on all evaluations."""
    if not st.toggle("Beside other shapes of the curve", key="law_shapes", bind="query-params"):
        return
    found = run_data.shapes(entry, metric, entropy)
    st.markdown(f"##### {entry.name} beside other shapes")
    st.caption(escaped(found.summary().splitlines()[0]))
    table = found.to_frame()
    st.dataframe(
        table[[name for name in _SHAPES if name in table]],
        hide_index=True,
        column_config=_SHAPES,
        placeholder="–",
    )


def every_run(metric: str, entropy: str) -> None:
    """The law of every chosen run in one table, then what is to be said about them, each thing once."""
    entries = run_picker.picked().entries
    if len(entries) < 2:
        return
    st.markdown("##### The chosen runs")
    rows, notes = [], {}
    for entry in entries:
        row, told = _row(entry, metric, entropy)
        rows.append({"run": entry.name, "method": entry.method} | row)
        for note in told:
            notes.setdefault(note, []).append(entry.name)
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=_COLUMNS, placeholder="–")
    page_style.warn(f"{', '.join(names)}: {note}" for note, names in notes.items())


_NUMBER = st.column_config.NumberColumn
_SHAPES = {
    "name": st.column_config.TextColumn("shape"),
    "formula": st.column_config.TextColumn("formula"),
    "ceiling": _NUMBER(format="%.3f", help="Performance at H = 0"),
    "delta_aicc": _NUMBER(
        "ΔAICc", format="%.1f", help="Above the best shape; a difference under 2 says nothing"
    ),
    "rmse": _NUMBER("residual", format="%.4f", help="Root mean square over all evaluations, least squares"),
    "early_0.25": _NUMBER(
        "missed from 25 %", format="%.3f", help="Error on the rest, fitted on the first 25 %"
    ),
    "early_0.5": _NUMBER(
        "missed from 50 %", format="%.3f", help="Error on the rest, fitted on the first 50 %"
    ),
}
_COLUMNS = {
    "ceiling": _NUMBER(format="%.3f", help="Performance at H = 0, b - a"),
    "interval": st.column_config.TextColumn(help="Of the ceiling, conditional on the law"),
    "form band": st.column_config.TextColumn(help="Of the ceiling, over five curve shapes"),
    "a": _NUMBER(format="%.3f", help="Performance gained per unit of exp(H) spent"),
    "R²": _NUMBER(format="%.3f", help="Share of the variance of R that the line follows"),
}


def _row(entry: Entry, metric: str, entropy: str) -> tuple[dict[str, object], list[str]]:
    """Numbers of a run, and what is to be said about them."""
    try:
        fit = run_data.law(entry, metric, entropy)
    except InsufficientDataError as error:
        return {}, [str(error)]
    numbers = {
        "ceiling": fit.ceiling,
        "interval": interval_text(fit.intervals["ceiling"]) or "withheld",
        "form band": interval_text(fit.form_band) or "withheld",
        "a": fit.a,
        "R²": fit.r2,
        "points": fit.n_points,
    }
    withheld = [f"interval withheld, {fit.withheld}"] if fit.withheld else []
    return numbers, [*withheld, *fit.warnings]


def _metric(entry: Entry, place: st.delta_generator.DeltaGenerator) -> str:
    names = metric_names.performances(run_data.validation_metrics(entry))
    if not names:
        raise InsufficientDataError(
            "no evaluations on the split 'validation', so there is no performance to fit"
        )
    if st.session_state.get("law_metric") not in names:
        st.session_state.pop("law_metric", None)
    return place.selectbox(
        "Performance R", names, key="law_metric", format_func=metric_names.metric_label, bind="query-params"
    )


def _entropy(place: st.delta_generator.DeltaGenerator) -> str:
    return place.selectbox(
        "Entropy H",
        list(metric_names.ENTROPIES),
        key="law_entropy",
        format_func=lambda name: metric_names.ENTROPIES[name],
        bind="query-params",
    )


def _first(n: int) -> int | None:
    """How many evaluations to fit on; None for all of them."""
    if n <= MIN_FIRST:
        return None
    if not MIN_FIRST <= st.session_state.get("law_first", n) <= n:
        del st.session_state["law_first"]
    first = st.slider("Fit on the first evaluations", MIN_FIRST, n, n, key="law_first", bind="query-params")
    return None if first == n else first


def _tiles(fit: CurveFit) -> None:
    effective = f"{fit.effective_points:.0f} effective, autocorrelation {fit.rho:.2f}"
    ceiling, slope = (interval_text(fit.intervals[name]) or "interval withheld" for name in ("ceiling", "a"))
    page_style.tiles(
        [
            Tile("Ceiling at H = 0", number(fit.ceiling), [ceiling]),
            Tile("Its form band", interval_text(fit.form_band) or "withheld", ["over five curve shapes"]),
            Tile("Slope a", number(fit.a), [slope]),
            Tile("R²", number(fit.r2), [f"residual sd {number(fit.residual_sd)}"]),
            Tile("Evaluations fitted", str(fit.n_points), [effective]),
        ]
    )


page()
