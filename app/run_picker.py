"""The sidebar that all pages share: which runs, grouped how, smoothed how much, over what. Its state is the URL."""

from __future__ import annotations

import time
import zlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import page_style
import run_data
import run_finder
import streamlit as st
from notices import escaped
from run_finder import Entry
from series_charts import Line

from entropylab.plots.style import Style, method_label, run_style

STATE, KEPT = "picked", "run_kept"


@dataclass(frozen=True)
class Picked:
    """What the sidebar says: the chosen runs and how to draw them."""

    entries: tuple[Entry, ...]
    by_method: bool
    window: int
    x: str

    def label(self, entry: Entry) -> str:
        """The run's name; its place below the data root where another chosen run has that name."""
        return entry.name if [e.name for e in self.entries].count(entry.name) == 1 else entry.slug

    def family(self, entry: Entry) -> str:
        """The runs that are gathered by method; runs of different groups are never mixed."""
        method = method_label(entry.method)
        return method if len({e.group for e in self.entries}) == 1 else f"{entry.group}: {method}"

    def focus(self, *, controlled: bool = False) -> Entry:
        """The run that a one-run view opens with: the first baseline, or the first that is none.

        One that holds no step yet only where no run does.
        """
        held = [e for e in self.entries if e.n_steps] or list(self.entries)
        liked = [e for e in held if (e.method == "baseline") != controlled]
        return (liked or held)[0]


def show(entries: Sequence[Entry]) -> None:
    """Draw the sidebar and keep what it says for the page."""
    _seed(entries)
    st.markdown("**Runs**")
    for root in run_finder.roots():
        st.caption(f":material/folder_open: {escaped(str(root))}")
    first_group = next((e.group for e in entries if st.session_state[_key(e)]), entries[0].group)
    for group, members in groupby(entries, key=lambda e: e.group):
        _group(group, list(members), expanded=group == first_group)
    page_style.chips([(_key(e), style_of(e)) for e in entries])
    chosen = tuple(e for e in entries if st.session_state[_key(e)])
    st.query_params["runs"] = [e.slug for e in chosen]
    st.session_state[STATE] = Picked(chosen, *_how())
    if st.toggle("Follow runs under way", key="live", bind="query-params"):
        _follow(entries)


@st.fragment(run_every=run_finder.SECONDS_BETWEEN_WALKS)
def _follow(shown: Sequence[Entry]) -> None:
    """Draw the page again once a folder has changed."""
    if run_finder.discover().entries != tuple(shown):
        st.rerun()


def picked() -> Picked:
    """What the sidebar of this rerun says."""
    return st.session_state[STATE]


def chosen_runs() -> Picked:
    """What the sidebar says; where no run is ticked, a sentence in place of the page."""
    chosen = picked()
    if not chosen.entries:
        st.info("No run is chosen: tick one in the sidebar.", icon=":material/info:")
        st.stop()
    return chosen


def focus_run(*, controlled: bool = False, among: Picked | None = None) -> Entry:
    """The one run that Law, Tails and Selection look at; a choice made travels between them.

    Where none was made, the first baseline, or with `controlled` the first run of another method; of the
    ticked runs, or of those in `among`.
    """
    chosen = among or chosen_runs()
    slugs = {e.slug: e for e in chosen.entries}
    if "run" in st.query_params:
        st.session_state.setdefault(KEPT, st.query_params["run"])
    kept = st.session_state.get(KEPT)
    st.session_state["run"] = kept if kept in slugs else chosen.focus(controlled=controlled).slug
    label = {slug: chosen.label(entry) for slug, entry in slugs.items()}
    slug = st.selectbox(
        "Run", list(slugs), key="run", format_func=lambda one: label[one], on_change=_keep_focus
    )
    if KEPT in st.session_state:
        st.query_params["run"] = slug
    return slugs[slug]


def _keep_focus() -> None:
    """A run that was chosen by hand stays chosen on the other pages and in the URL."""
    st.session_state[KEPT] = st.session_state["run"]


def token_steps(entry: Entry, place: st.delta_generator.DeltaGenerator) -> tuple[int, ...]:
    """The steps whose token rows a page reads: the first or the last that have any."""
    which = place.segmented_control(
        "Token rows of",
        ["first steps", "last steps"],
        default="first steps",
        required=True,
        key="rows",
        bind="query-params",
    )
    steps = run_data.token_steps(entry, last=which == "last steps")
    if steps:
        place.caption(f"{len(steps)} steps with token rows, from {steps[0]} to {steps[-1]}")
    return steps


def tokens_link(place: st.delta_generator.DeltaGenerator, label: str, **query: str) -> None:
    """A link to the page Tokens with what its address shall say: step, color, run.

    A link, because `st.switch_page` refuses where a choice of the page that is left is in the address.
    """
    place.page_link("views/tokens.py", label=label, icon=":material/notes:", query_params=query)


def lines_of(chosen: Picked) -> dict[Entry, Line]:
    """Each chosen run as the charts call it."""
    return {e: Line(chosen.label(e), chosen.family(e), style_of(e)) for e in chosen.entries}


def style_of(entry: Entry) -> Style:
    """The fixed style of a run in every view."""
    return run_style(entry.name, entry.method)


def _key(entry: Entry) -> str:
    return f"pick_{zlib.crc32(entry.path.encode()):08x}"


def _seed(entries: Sequence[Entry]) -> None:
    """Tick what the URL names, otherwise the largest group; keep what was ticked before."""
    named = {e.slug for e in entries} & set(st.query_params.get_all("runs"))
    largest = Counter(e.group for e in entries).most_common(1)[0][0]
    for entry in entries:
        ticked = entry.slug in named if named else entry.group == largest
        st.session_state.setdefault(_key(entry), ticked)


def _group(group: str, members: Sequence[Entry], *, expanded: bool) -> None:
    count = f"{len(members)} run" + ("s" if len(members) > 1 else "")
    with st.expander(f"{escaped(group)} · {count}", expanded=expanded):
        all_ticked = all(st.session_state[_key(e)] for e in members)
        st.button(
            "Clear" if all_ticked else "Tick all",
            key=f"all_{zlib.crc32(group.encode()):08x}",
            type="tertiary",
            on_click=_tick,
            args=(members, not all_ticked),
        )
        for entry in members:
            st.checkbox(_label(entry), key=_key(entry), width="stretch")


def _tick(members: Sequence[Entry], value: bool) -> None:
    for entry in members:
        st.session_state[_key(entry)] = value


def _label(entry: Entry) -> str:
    """Two lines: the name and its health; method, steps and last update."""
    parts = [method_label(entry.method), f"{entry.n_steps} steps", age(entry.stamp)]
    return f"{escaped(entry.name)} {_health(entry)}  \n:small[:gray[{escaped(' · '.join(parts))}]]"


def _health(entry: Entry) -> str:
    """A tick where the files are whole, else a triangle with the number of problems."""
    return f":orange[▲ {len(entry.problems)}]" if entry.problems else ":gray[✓]"


def age(updated: float) -> str:
    """How long ago, in one unit."""
    seconds = max(0.0, time.time() - updated)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size:.0f} {unit} ago"
    return "just now"


def _how() -> tuple[bool, int, str]:
    by = st.segmented_control(
        "Group by", ["method", "none"], default="method", required=True, key="group", bind="query-params"
    )
    x = st.segmented_control(
        "Horizontal axis",
        ["steps", "tokens", "hours"],
        default="steps",
        required=True,
        key="x",
        bind="query-params",
    )
    window = st.slider("Smoothing, steps", 1, 50, 5, key="smooth", bind="query-params")
    st.segmented_control(
        "Pictures as", ["svg", "png"], default="svg", required=True, key="picture", bind="query-params"
    )
    return by == "method", window, x
