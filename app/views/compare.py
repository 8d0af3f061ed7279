"""Compare: how the methods differ from the baseline over seeds, at equal steps, tokens and entropy, and in what."""

from __future__ import annotations

import guide
import page_style
import pandas as pd
import run_data
import run_picker
import streamlit as st
from chart_look import draw
from comparison_charts import differences_figure, end_table, matched_figure
from notices import in_words, say
from run_picker import Picked
from wording import percent

from entropylab.analysis.comparison import Comparison
from entropylab.report.settings import split_settings


def page() -> None:
    """The chosen runs beside each other."""
    chosen = run_picker.chosen_runs()
    with in_words("No comparison"):
        comparison = run_data.comparison(chosen.entries)
        opening(comparison)
        if comparison.differences.empty:
            say("There is nothing to compare: choose runs of a baseline and of another method.")
        else:
            differences(comparison)
        ends(comparison)
        page_style.warn(comparison.warnings)
    with in_words("Settings"):
        settings(chosen)
    guide.how_to_read("Compare")


def opening(comparison: Comparison) -> None:
    """A sentence a compared method; without a baseline, the end values."""
    first, *rest = comparison.summary().splitlines()
    others = comparison.differences["method"].nunique() - 1
    page_style.opening(first, " ".join(rest[: max(1, others)]))


def differences(comparison: Comparison) -> None:
    """The methods less the baseline: at the end, then where both have come equally far."""
    level = percent(comparison.level)
    st.markdown("##### Less the baseline, at the end of training")
    st.caption(f"Dots: mean difference; bars: {level} interval over the seeds; ticks below: single pairs.")
    ends = [f"{name}_end" for name in comparison.shown]
    for place, metric in zip(st.columns(len(ends)), ends, strict=True):
        draw(differences_figure(comparison, metric), f"less_{metric}", place)
    _, *performances = comparison.shown
    st.markdown("##### Less the baseline, where both have come equally far")
    if not performances:
        st.caption("No validation evaluation was recorded, so there is no performance to compare.")
        return
    st.caption("Thick bars: over the seeds; thin bars, of accuracies: over seeds and problems.")
    for place, metric in zip(st.columns(len(performances)), performances, strict=True):
        draw(matched_figure(comparison, metric), f"matched_{metric}", place)


def ends(comparison: Comparison) -> None:
    """End values by method, and every run."""
    st.markdown("##### End of training, by method")
    st.dataframe(end_table(comparison), hide_index=True)
    st.caption(
        "Mean of the last 4 evaluations (of the last 10 steps for the entropy), the first not among them, "
        f"over the runs, with its {percent(comparison.level)} interval over the seeds."
    )
    with st.expander("Every run"):
        st.dataframe(comparison.runs, hide_index=True, placeholder="–")


def settings(chosen: Picked) -> None:
    """What differs between the configurations of the runs, and what they share."""
    shared, different = split_settings([run_data.config(entry) for entry in chosen.entries])
    st.markdown("##### Settings")
    labels = [chosen.label(entry) for entry in chosen.entries]
    if different:
        rows = [[name, *values] for name, values in different]
        st.dataframe(pd.DataFrame(rows, columns=["setting", *labels]), hide_index=True)
    else:
        st.caption("No setting differs between the chosen runs." if shared else "No settings were recorded.")
    if shared:
        with st.expander(f"{len(shared)} settings that all share"):
            st.dataframe(pd.DataFrame(shared.items(), columns=["setting", "value"]), hide_index=True)


page()
