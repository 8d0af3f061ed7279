"""Selection: which tokens did the control choose, and are they those that carry the tail?"""

from __future__ import annotations

import guide
import page_style
import pandas as pd
import run_data
import run_picker
import selection_charts
import streamlit as st
from chart_look import draw
from notices import in_words, say
from run_finder import Entry
from wording import interval_text, percent

from entropylab.analysis.attribution import Attribution


def page() -> None:
    """One run's selection, by default of a run with a control."""
    run_box, steps_box = st.columns([2, 3], vertical_alignment="top")
    with run_box:
        entry = run_picker.focus_run(controlled=True)
    with in_words(entry.name):
        one_run(entry, run_data.selection(entry, run_picker.token_steps(entry, steps_box)))
    guide.how_to_read("Selection")


def one_run(entry: Entry, result: Attribution) -> None:
    """Sentence, plate, positions and enriched tokens."""
    tail, selected, *_ = result.summary().splitlines()
    if result.n_selected:
        page_style.opening(f"{entry.name}: {selected}", tail)
    else:
        page_style.opening(
            f"{entry.name}: {selected} The page shows the tokens of highest covariance instead.", tail
        )
    style = run_picker.style_of(entry)
    st.markdown("##### Who they are")
    st.html(selection_charts.plate(result))
    left, right = st.columns(2, gap="large")
    draw(selection_charts.positions_figure(result, style), "positions", left)
    with right:
        if result.tokens.empty:
            say(
                "Token ids were not recorded, so no tokens can be named: pass token_ids=... to recorder.record."
            )
        else:
            draw(selection_charts.enrichment_figure(result, style), "enrichment")
    if not result.tokens.empty:
        st.markdown("##### Tokens of the sets")
        _tokens(result)
    st.markdown("##### How probable they were")
    draw(selection_charts.probability_figure(result, style), "probability")
    page_style.warn(result.warnings)


def _tokens(result: Attribution) -> None:
    rows = result.tokens
    labels = [
        selection_charts.token_label(t, i) for t, i in zip(rows["token"], rows["token_id"], strict=True)
    ]
    interval = [interval_text((low, high), 2) for low, high in zip(rows["low"], rows["high"], strict=True)]
    table = pd.DataFrame(
        {
            "set": rows["set"],
            "token": labels,
            "id": rows["token_id"],
            "count": rows["count"],
            "share of the set": rows["share"],
            "share of all": rows["share_all"],
            "enrichment": rows["enrichment"],
            f"{percent(result.level)} interval": interval,
        }
    )
    as_share = st.column_config.NumberColumn(format="percent")
    columns = {
        "share of the set": as_share,
        "share of all": as_share,
        "enrichment": st.column_config.NumberColumn(format="%.2f"),
    }
    st.dataframe(table, hide_index=True, column_config=columns, placeholder="–", height=320)


page()
