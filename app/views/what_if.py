"""What-if: which tokens another control, fraction, bound or micro-batch size would have chosen on this run."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import Any

import guide
import page_style
import pandas as pd
import replay_charts
import run_data
import run_picker
import streamlit as st
from chart_look import draw
from notices import escaped, in_words
from page_style import Tile
from run_finder import Entry
from wording import share

from entropylab.analysis.replay_controls import own_control
from entropylab.analysis.replay_report import Replay
from entropylab.losses.interfaces import chooses_tokens
from entropylab.losses.methods import METHODS
from entropylab.losses.settings import to_dict
from entropylab.trainers.snippets import loop_snippet, trl_snippet, verl_snippet

FRACTIONS = (2e-4, 5e-4, 1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2)
PIECES = (64, 8, 1)
MOST_BOUND = 20.0
BOUND_STEP = 0.01


def page() -> None:
    """Controls on the left, on the right at once what they would have chosen."""
    run_box, steps_box = st.columns([2, 3], vertical_alignment="top")
    with run_box:
        entry = run_picker.focus_run(controlled=True)
    with in_words(entry.name):
        chosen = run_picker.token_steps(entry, steps_box)
        above = st.container()
        left, right = st.columns([2, 5], gap="large")
        with left:
            control = _control(entry)
        with right:
            result = run_data.replayed(entry, json.dumps(to_dict(control)), chosen, PIECES)
            _result(entry, result)
        with above:
            first, *rest = result.summary().splitlines()
            also = rest[0] if result.n_selected else "The run itself chose no token."
            page_style.opening(f"{entry.name}: {first}", also)
        _code(control)
        page_style.warn(result.warnings)
    guide.how_to_read("What-if")


def _control(entry: Entry) -> Any:
    """The control that the widgets say."""
    rows = {key: row for key, row in METHODS.items() if chooses_tokens(row.control)}
    own = own_control(run_data.config(entry))
    names = (["the run's own"] if own is not None else []) + list(rows)
    if st.session_state.get("what_if") not in names:
        st.session_state.pop("what_if", None)
    name = st.selectbox("Control", names, key="what_if", bind="query-params")
    st.caption(escaped(rows[name].text if name in rows else "The control that the run was trained with."))
    control = own if name not in rows else rows[name].control
    return _changed(control, name)


def _changed(control: Any, name: str) -> Any:
    """The control with what the sliders say; each preset has sliders of its own."""
    held = {field.name for field in fields(control)}
    options = sorted({*FRACTIONS, control.fraction})
    fraction = st.select_slider(
        "Fraction of the tokens",
        options,
        value=control.fraction,
        format_func=lambda f: f"{100 * f:g} %",
        key=f"fraction_{name}",
        bind="query-params",
    )
    control = replace(control, fraction=fraction)
    if "select" in held:
        select = st.segmented_control(
            "Chosen",
            ["band", "top"],
            default=control.select,
            required=True,
            key=f"select_{name}",
            format_func={"band": "between bounds", "top": "the highest"}.get,
            bind="query-params",
        )
        control = replace(control, select=select)
        if select == "band":
            control = replace(control, **_bounds(control, name))
    return control


def _bounds(control: Any, name: str) -> dict[str, float]:
    low, high = st.slider(
        "Bounds of the covariance, nats × advantage",
        min(0.0, float(control.low)),
        max(MOST_BOUND, float(control.high)),
        (float(control.low), float(control.high)),
        BOUND_STEP,
        key=f"bounds_{name}",
        bind="query-params",
    )
    return {"low": low, "high": max(high, low + BOUND_STEP)}


def _result(entry: Entry, result: Replay) -> None:
    overlap = "–" if result.overlap is None else f"{result.overlap:.2f}"
    a_batch = result.updates["chosen"].mean()
    page_style.tiles(
        [
            Tile(
                "Tokens chosen an update",
                f"{a_batch:,.1f}",
                [f"{result.n_chosen:,} in {len(result.updates)}"],
            ),
            Tile("Fraction in effect", share(result.fraction), [f"of {result.n_tokens:,} tokens"]),
            Tile("Covariance removed", share(result.mass_removed), ["of the positive covariance"]),
            Tile("Overlap with the run's choice", overlap, ["chosen by both, over by either"]),
        ]
    )
    style = run_picker.style_of(entry)
    left, right = st.columns(2, gap="medium")
    draw(replay_charts.quadrants_figure(result, style), "what_if_quadrants", left)
    draw(replay_charts.pieces_figure(result, style), "what_if_pieces", right)
    draw(replay_charts.updates_figure(result, style), "what_if_updates", data=result.updates)
    with st.expander("Micro-batches in numbers"):
        st.dataframe(_pieces(result.pieces), hide_index=True, placeholder="–")


def _pieces(pieces: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "responses at a time": pieces["responses"],
            "chosen": pieces["chosen"],
            "fraction": [share(x) for x in pieces["fraction"]],
            "of the whole-batch choice": [share(x) for x in pieces["overlap"]],
            "its own alone": [share(x) for x in pieces["extra"]],
            "covariance off by (deviations)": pieces["covariance_error"].round(3),
        }
    )


def _code(control: Any) -> None:
    st.markdown("##### The same control as code")
    loop, trl, verl = st.tabs(["Your loop", "TRL", "verl"])
    loop.code(loop_snippet(control), language="python")
    trl.code(trl_snippet(control), language="python")
    verl.code(verl_snippet(control), language="bash")


page()
