"""Overview: what became of entropy and performance in the chosen runs, and how they differ."""

from __future__ import annotations

import page_style
import pandas as pd
import quantities
import run_data
import run_picker
import streamlit as st
from chart_look import draw, share_x
from comparison_charts import SHOWN, differences_figure, end_table
from notices import in_words, say
from overview_charts import Drawing, Line, legend, panel_figure
from page_style import Tile
from quantities import Quantity
from run_finder import Entry
from run_picker import Picked
from wording import percent

from entropylab.analysis.comparison import Comparison
from entropylab.errors import InsufficientDataError

HOW_TO_READ = """
All panels have the same horizontal axis. Grouped by method, a line is the mean over the runs of that method and the
band reaches from its lowest to its highest run: the spread that was seen, not an interval. Ungrouped, a line is one
run, smoothed over the steps set in the sidebar, over its raw values.

* **Entropy H**: mean over the tokens of a step, in nats. Policy gradients spend it; once it is spent, the policy
  explores no more.
* **Accuracy** at temperature 1, greedy, and **pass@8** (at least one of 8 samples is right) answer different
  questions: a method may keep pass@8 up without a gain in accuracy. Look at all three.
* **Mean covariance** of log-probability and advantage: while it is positive, a step of policy gradient lowers the
  entropy (arXiv 2505.22617, eq. 10).
* **Tokens selected**: the share of all tokens that the control acted on.
* **Data health**: what the reader found wrong in the files. Steps that are not whole are left out, never filled in.
"""
COLUMNS = 3
MANY_LINES = 7


def page() -> None:
    """Sentence, tiles, panels, differences, health; a part that cannot be shown says why."""
    chosen = run_picker.picked()
    if not chosen.entries:
        say("No run is chosen: tick one in the sidebar.")
        return
    comparison = None
    with in_words("No comparison"):
        comparison = run_data.comparison(chosen.entries)
        opening(comparison)
    page_style.warn(_ill(chosen))
    with in_words():
        tiles(chosen.focus())
    with in_words():
        panels(chosen)
    if comparison is not None:
        differences(comparison)
    health(chosen)
    with st.expander("How to read this"):
        st.markdown(HOW_TO_READ)


def opening(comparison: Comparison) -> None:
    """A sentence a compared method; without a baseline, the end values."""
    first, *rest = comparison.summary().splitlines()
    others = comparison.differences["method"].nunique() - 1
    page_style.opening(first, " ".join(rest[: max(1, others)]))


def tiles(entry: Entry) -> None:
    """Where one run stands now, beside where it began."""
    color = run_picker.style_of(entry).color
    shown = [_tile(quantity, series[entry], color) for quantity, series in quantities.found_in([entry])]
    if shown:
        page_style.tiles(shown, heading=f"{entry.name} at its last step")


def panels(chosen: Picked) -> None:
    """The small panels under one legend, over one horizontal axis."""
    found = quantities.found_in(chosen.entries)
    if not found:
        raise InsufficientDataError("The chosen runs hold no whole step and no evaluation yet.")
    lines = {e: Line(chosen.label(e), chosen.family(e), run_picker.style_of(e)) for e in chosen.entries}
    page_style.legend(legend(list(lines.values()), by_family=chosen.by_method))
    if len(lines) > MANY_LINES and not chosen.by_method:
        st.caption(f"{len(lines)} lines a panel: group by method in the sidebar to gather the seeds.")
    drawing = Drawing(chosen.by_method, chosen.window, chosen.x)
    figures = [
        panel_figure(q, {lines[e]: frame for e, frame in series.items()}, drawing) for q, series in found
    ]
    share_x(figures, 0, max(frame[drawing.column].max() for _, series in found for frame in series.values()))
    for row in range(0, len(figures), COLUMNS):
        places = st.columns(COLUMNS)
        for place, i in zip(places, range(row, min(row + COLUMNS, len(figures))), strict=False):
            draw(figures[i], f"panel_{i}", place)


def differences(comparison: Comparison) -> None:
    """The methods less the baseline, the end values, and every run."""
    level = percent(comparison.level)
    if len(comparison.differences):
        st.markdown("##### Less the baseline, at the end of training")
        st.caption(
            f"Dots: mean difference; bars: {level} interval over the seeds, paired where they share a seed."
        )
        for place, metric in zip(st.columns(len(SHOWN)), SHOWN, strict=True):
            draw(differences_figure(comparison, metric), f"less_{metric}", place)
    st.markdown("##### End of training, by method")
    st.dataframe(end_table(comparison), hide_index=True)
    st.caption(
        f"Mean of the last 4 evaluations (of the last 10 steps for the entropy) over the runs, with its {level} "
        "interval over the seeds."
    )
    page_style.warn(comparison.warnings)
    with st.expander("Every run"):
        st.dataframe(comparison.runs, hide_index=True, placeholder="–")


def health(chosen: Picked) -> None:
    """What is wrong with the files of the chosen runs, by name."""
    rows = [
        {"run": chosen.label(e), "kind": p.kind.replace("_", " "), "what and how to mend": p.message}
        for e in chosen.entries
        for p in e.problems
    ]
    if not rows:
        count = len(chosen.entries)
        st.caption(
            f":material/check: Data health: {count} run{'s' if count > 1 else ''} read, no problem found."
        )
        return
    st.markdown("##### Data health")
    st.dataframe(pd.DataFrame(rows), hide_index=True)


def _ill(chosen: Picked) -> list[str]:
    """A line where files are not whole, at the top of the page."""
    ill = [f"{chosen.label(e)} ({len(e.problems)})" for e in chosen.entries if e.problems]
    return [f"problems in the files of {', '.join(ill)}: see Data health below"] if ill else []


def _tile(quantity: Quantity, frame: pd.DataFrame, color: str) -> Tile:
    first, last = quantities.ends(frame)
    began = f"{quantity.write(first['value'])} at step {first['step']:.0f}"
    return Tile(
        quantity.name, quantity.write(last["value"]), (quantity.unit, began), frame["value"].tolist(), color
    )


page()
