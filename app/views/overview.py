"""Overview: is a run collapsing, how much is left, what became of entropy and performance in the chosen runs?"""

from __future__ import annotations

import guide
import page_style
import pandas as pd
import quantities
import run_data
import run_picker
import streamlit as st
from chart_look import draw, share_x
from notices import in_words
from page_style import Tile
from quantities import Quantity
from run_finder import Entry
from run_picker import Picked
from series_charts import Drawing, legend, panel_figure
from wording import interval_text, percent, share

from entropylab.analysis.health import Health
from entropylab.errors import EntropylabError, InsufficientDataError

COLUMNS = 3
MANY_LINES = 7
MOST_ALERTS = 6
MOST_COMPARED = 30
POINTS = 400


def page() -> None:
    """Sentence, tiles, health of every run, panels, data health; a part that cannot be shown says why."""
    chosen = run_picker.chosen_runs()
    with in_words():
        opening(chosen)
    page_style.warn(_ill(chosen))
    with in_words():
        tiles(chosen.focus())
    with in_words():
        standing(chosen)
    with in_words():
        panels(chosen)
    health(chosen)
    guide.how_to_read("Overview")


def opening(chosen: Picked) -> None:
    """How the run in focus stands, with the ceiling of its law; then the methods beside the baseline."""
    entry = chosen.focus()
    sentence = run_data.health(entry).summary().splitlines()[0]
    page_style.opening(sentence, " ".join(filter(None, (_ceiling(entry), _compared(chosen)))))


def _ceiling(entry: Entry) -> str:
    try:
        fit = run_data.law(entry, "accuracy", "entropy_token_mean")
    except EntropylabError:
        return ""
    interval = interval_text(fit.intervals["ceiling"])
    told = f"{percent(fit.level)}: {interval}, conditional on the law" if interval else "interval withheld"
    return f"Ceiling of its accuracy at H = 0: {fit.ceiling:.3f} ({told})."


def _compared(chosen: Picked) -> str:
    """The first line of the comparison where there is a baseline and another method."""
    if len({e.method for e in chosen.entries}) < 2 or len(chosen.entries) > MOST_COMPARED:
        return ""
    comparison = run_data.comparison(chosen.entries)
    return "" if comparison.differences.empty else comparison.summary().splitlines()[0]


def standing(chosen: Picked) -> None:
    """A row a run: verdict, entropy, half-life, gain used, prompts without signal; then the alerts."""
    rows, alerts = [], []
    for entry in chosen.entries:
        try:
            found = run_data.health(entry)
        except InsufficientDataError as error:
            rows.append({"run": chosen.label(entry), "state": str(error)})
            continue
        rows.append(_standing(chosen.label(entry), found))
        alerts += [f"{chosen.label(entry)}: {alert.message}" for alert in found.alerts]
    st.markdown("##### How the runs stand")
    st.dataframe(pd.DataFrame(rows), hide_index=True, column_config=_STANDING, placeholder="–")
    page_style.warn(alerts[:MOST_ALERTS])
    if len(alerts) > MOST_ALERTS:
        st.caption(f"And {len(alerts) - MOST_ALERTS} more: entropylab watch PATH lists them.")


_NUMBER = st.column_config.NumberColumn
_STANDING = {
    "H now": _NUMBER(format="%.3f", help="Mean over tokens of the last 10 steps, nats"),
    "H left": _NUMBER(format="percent", help="Of the entropy of the first 10 steps"),
    "half-life": _NUMBER(format="%.0f", help="Steps in which the entropy halves at its present rate"),
    "gain used": _NUMBER(
        format="percent",
        help="(exp(H start) - exp(H now)) / (exp(H start) - 1): by the law R = b - a exp(H), if it holds",
    ),
    "no advantage": _NUMBER(format="percent", help="Responses whose advantages are all 0, last 10 steps"),
    "selected": _NUMBER(
        format="percent", help="Share of the tokens that the control acted on, last 10 steps"
    ),
}


def _standing(label: str, found: Health) -> dict[str, object]:
    return {
        "run": label,
        "state": found.verdict,
        "step": found.last_step,
        "H now": found.entropy_now,
        "H left": found.entropy_left,
        "half-life": found.decline and found.decline.half_life,
        "gain used": found.gain_used,
        "selected": found.selected_fraction,
        "no advantage": found.zero_advantage_fraction,
        "alerts": len(found.alerts),
    }


def tiles(entry: Entry) -> None:
    """Where one run stands now, beside where it began."""
    color = run_picker.style_of(entry).color
    shown = [
        _tile(quantity, series[entry], color)
        for quantity, series in quantities.found_in([entry])
        if quantity != quantities.SELECTED or series[entry]["value"].any()
    ]
    found = run_data.health(entry)
    if found.gain_used is not None:
        gain = Tile(
            "Gain used",
            share(found.gain_used),
            ["of what the law, if it holds, allows down to H = 0"],
            (),
            color,
        )
        shown.insert(1, gain)
    if shown:
        page_style.tiles(shown, heading=f"{entry.name} at its last step")


def panels(chosen: Picked) -> None:
    """The small panels under one legend, over one horizontal axis."""
    found = quantities.found_in(chosen.entries)
    if not found:
        raise InsufficientDataError("The chosen runs hold no whole step and no evaluation yet.")
    lines = run_picker.lines_of(chosen)
    page_style.legend(legend(list(lines.values()), by_family=chosen.by_method))
    if len(lines) > MANY_LINES and not chosen.by_method:
        st.caption(f"{len(lines)} lines a panel: group by method in the sidebar to gather the seeds.")
    drawing = Drawing(chosen.by_method, chosen.window, chosen.x, points=POINTS)
    figures = [
        panel_figure(q, {lines[e]: frame for e, frame in series.items()}, drawing) for q, series in found
    ]
    share_x(figures, 0, max(frame[drawing.column].max() for _, series in found for frame in series.values()))
    for row in range(0, len(figures), COLUMNS):
        places = st.columns(COLUMNS)
        for place, i in zip(places, range(row, min(row + COLUMNS, len(figures))), strict=False):
            draw(figures[i], f"panel_{i}", place, tells=found[i][0].tells)


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
            f":material/check: Data health: {count} run{'s' if count > 1 else ''}, no problem in markers and "
            "evaluations; the Data page opens the row files too."
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
