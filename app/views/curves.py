"""Curves: any quantity of the log, over steps, tokens or hours, a line a run or a band a method."""

from __future__ import annotations

import guide
import metric_names
import page_style
import pandas as pd
import quantities
import run_data
import run_picker
import series_charts
import streamlit as st
from chart_look import draw, share_x
from notices import in_words
from quantities import Quantity
from run_finder import Entry
from run_picker import Picked

from entropylab.analysis.trajectories import over_seeds
from entropylab.errors import InsufficientDataError

USUAL = ("entropy_token_mean", "validation/accuracy", "covariance_mean")
COLUMNS = 2


def page() -> None:
    """Choices, one sentence, a panel a quantity."""
    chosen = run_picker.chosen_runs()
    with in_words():
        names = _names(chosen.entries)
        picked, log = _choices(names)
        panels(chosen, picked, log=log)
    guide.how_to_read("Curves")


def panels(chosen: Picked, names: list[str], *, log: bool) -> None:
    """A sentence on the first quantity, the legend, then the panels over one horizontal axis."""
    found = [(name, quantities.named(name), quantities.series_of(chosen.entries, name)) for name in names]
    found = [one for one in found if one[2]]
    if not found:
        raise InsufficientDataError("None of the chosen runs holds one of these quantities.")
    page_style.opening(_sentence(chosen, *found[0][1:]))
    lines = run_picker.lines_of(chosen)
    page_style.legend(series_charts.legend(list(lines.values()), by_family=chosen.by_method))
    drawing = series_charts.Drawing(chosen.by_method, chosen.window, chosen.x, log=log)
    figures = [
        series_charts.panel_figure(q, {lines[e]: frame for e, frame in series.items()}, drawing, 320)
        for _, q, series in found
    ]
    ends = [frame[drawing.column].max() for *_, series in found for frame in series.values()]
    share_x(figures, 0, max((x for x in ends if x == x), default=1.0))
    for row in range(0, len(figures), COLUMNS):
        places = st.columns(COLUMNS)
        for place, i in zip(places, range(row, min(row + COLUMNS, len(figures))), strict=False):
            name, quantity, series = found[i]
            data = _table(chosen, series)
            x = draw(figures[i], f"curve_{name}", place, tells=quantity.tells, data=data, pick=True)
            if x is not None and chosen.x == "steps":
                run_picker.tokens_link(place, f"Open the tokens of step {x:.0f}", step=f"{x:.0f}")


def _names(entries: tuple[Entry, ...]) -> list[str]:
    """Every quantity that a chosen run holds: the usual ones first."""
    held = {f"validation/{m}" for e in entries for m in run_data.validation_metrics(e)}
    for entry in entries:
        frame = run_data.steps(entry)
        held |= {c for c in frame.columns if frame[c].dtype.kind in "if" and c not in ("step", "n_ranks")}
    usual = [name for name in USUAL if name in held]
    known = [f"validation/{m}" for m in metric_names.METRICS if f"validation/{m}" in held]
    return list(dict.fromkeys([*usual, *known, *sorted(held)]))


def _choices(names: list[str]) -> tuple[list[str], bool]:
    left, right = st.columns([4, 1], vertical_alignment="bottom")
    kept = [n for n in st.session_state.get("curves", []) if n in names]
    if "curves" in st.session_state and kept != st.session_state["curves"]:
        st.session_state["curves"] = kept
    usual = [name for name in USUAL if name in names] or names[:1]
    picked = left.multiselect("Quantities", names, default=usual, key="curves", bind="query-params")
    log = right.toggle("Logarithmic", key="log", bind="query-params")
    if not picked:
        raise InsufficientDataError("No quantity is chosen: add one above.")
    return picked, log


def _sentence(chosen: Picked, quantity: Quantity, series: dict[Entry, pd.DataFrame]) -> str:
    parts = []
    for entry, frame in series.items():
        first, last = quantities.ends(frame)
        parts.append((chosen.label(entry), quantity.write(first["value"]), quantity.write(last["value"])))
    unit = f" ({quantity.unit})" if quantity.unit else ""
    if len(parts) > 3:
        low = min(series.items(), key=lambda item: quantities.ends(item[1])[1]["value"])[0]
        high = max(series.items(), key=lambda item: quantities.ends(item[1])[1]["value"])[0]
        ends = {label: last for label, _, last in parts}
        return (
            f"{quantity.name}{unit} ends between {ends[chosen.label(low)]} in {chosen.label(low)} and "
            f"{ends[chosen.label(high)]} in {chosen.label(high)}, {len(parts)} runs."
        )
    told = ", ".join(f"{first} -> {last} in {label}" for label, first, last in parts)
    return f"{quantity.name}{unit}: {told}."


def _table(chosen: Picked, series: dict[Entry, pd.DataFrame]) -> pd.DataFrame:
    """Every value of the runs, and the means over the runs of a method where they are gathered."""
    parts = [frame.assign(run=chosen.label(e), method=e.method) for e, frame in series.items()]
    if chosen.by_method:
        families: dict[str, list[pd.DataFrame]] = {}
        for entry, frame in series.items():
            families.setdefault(chosen.family(entry), []).append(frame)
        gathered = {name: over_seeds(frames) for name, frames in families.items() if len(frames) > 1}
        parts += [frame.assign(run="mean of the runs", method=name) for name, frame in gathered.items()]
    return pd.concat(parts, ignore_index=True)


page()
