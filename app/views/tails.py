"""Tails: how heavy is the covariance of the tokens, is that more than chance, and how few tokens hold it?"""

from __future__ import annotations

import guide
import page_style
import pandas as pd
import run_data
import run_picker
import streamlit as st
import tail_charts
from chart_look import draw
from notices import in_words
from run_finder import Entry
from wording import interval_text, percent, share

from entropylab.analysis.tails import TailReport

TOP_MEAN = "top_mean_"
QUESTIONS = ("Shape", "Against independence", "Concentration")


def page() -> None:
    """One run's tails."""
    run_box, steps_box = st.columns([2, 3], vertical_alignment="top")
    with run_box:
        entry = run_picker.focus_run()
    with in_words(entry.name):
        chosen = run_picker.token_steps(entry, steps_box)
        one_run(entry, run_data.tails(entry, chosen))
        over_steps(entry)
    guide.how_to_read("Tails")


def one_run(entry: Entry, report: TailReport) -> None:
    """Sentence and verdict, survival beside the top means, then the tail index."""
    lines = report.summary().splitlines()
    page_style.opening(f"{entry.name}: {lines[0]}", lines[1])
    page_style.cards(zip(QUESTIONS, report.verdict, report.explanations, strict=True))
    page_style.warn(report.warnings)
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.markdown("##### Survival of both sides")
        draw(tail_charts.survival_figure(report), "tail_survival")
    with right:
        st.markdown("##### Top means beside independence")
        _top_means(report)
        _permuted(report)
        draw(tail_charts.lorenz_figure(report), "tail_lorenz")
    st.markdown("##### Tail index over thresholds")
    figures = [tail_charts.index_figure(report, name) for name in tail_charts.ESTIMATORS]
    tail_charts.shared_y(figures, report)
    for place, figure, name in zip(st.columns(3), figures, tail_charts.ESTIMATORS, strict=True):
        draw(figure, f"tail_index_{name}", place)


def over_steps(entry: Entry) -> None:
    """The top means of every step, from the summaries, which count all tokens."""
    names = [name for name in run_data.steps(entry).columns if name.startswith(TOP_MEAN)]
    series = {f"top {share(float(n.removeprefix(TOP_MEAN)))}": run_data.step_series(entry, n) for n in names}
    known = {label: frame for label, frame in series.items() if (frame["value"] > 0).any()}
    if known:
        st.markdown("##### Over the steps")
        draw(tail_charts.course_figure(known, run_picker.picked().window), "tail_course")


def _top_means(report: TailReport) -> None:
    rows = report.nulls[report.nulls["tail"] == "right"].sort_values("fraction")
    table = pd.DataFrame(
        {
            "top": [share(f) for f in rows["fraction"]],
            "observed": rows["observed"],
            "independent": rows["independent"],
            "ratio": rows["ratio"],
            f"{percent(report.level)} interval": [
                interval_text((low, high), 2)
                for low, high in zip(rows["ratio_low"], rows["ratio_high"], strict=True)
            ],
        }
    )
    number_column = st.column_config.NumberColumn
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "top": st.column_config.TextColumn(help="Share of all tokens"),
            "observed": number_column(format="%.3f", help="Mean covariance, nats × advantage"),
            "independent": number_column(format="%.3f", help="The same for independent margins (N1)"),
            "ratio": number_column(format="%.2f", help="Observed over independent"),
        },
    )


PERMUTED = {
    "mean": "mean of all",
    "top_mean_0.02": "mean of the top 2 %",
    "top_mean_0.002": "mean of the top 0.2 %",
}


def _permuted(report: TailReport) -> None:
    if report.permutation_note:
        st.caption(f"Advantages not permuted: {report.permutation_note}.")
        return
    rows = report.permutation.set_index("statistic").loc[list(PERMUTED)]
    table = pd.DataFrame(
        {
            "covariance": list(PERMUTED.values()),
            "observed": rows["observed"].to_numpy(),
            "permuted": rows["permuted"].to_numpy(),
            "p": rows["p"].to_numpy(),
        }
    )
    as_number = st.column_config.NumberColumn(format="%.3f")
    columns = dict.fromkeys(("observed", "permuted", "p"), as_number)
    st.dataframe(table, hide_index=True, column_config=columns)


page()
