"""Entry of the dashboard: the pages, and the sidebar that they share."""

from __future__ import annotations

import guide
import page_style
import run_finder
import run_picker
import streamlit as st
from notices import say

# Without icons they all fit beside the sidebar of a small screen.
PAGES = (
    ("views/overview.py", "Overview"),
    ("views/compare.py", "Compare"),
    ("views/curves.py", "Curves"),
    ("views/law.py", "Law"),
    ("views/dynamics.py", "Dynamics"),
    ("views/tails.py", "Tails"),
    ("views/selection.py", "Selection"),
    ("views/tokens.py", "Tokens"),
    ("views/what_if.py", "What-if"),
    ("views/influence.py", "Influence"),
    ("views/data.py", "Data"),
)
NO_RUNS = (
    "There is no run to show yet. Make three small ones with `entropylab demo` (about two minutes on a laptop), "
    "or open your own with `entropylab dashboard PATH`."
)


def main() -> None:
    """Draw the sidebar and the page that the URL names."""
    st.set_page_config(page_title="entropylab", page_icon=page_style.ICON, layout="wide")
    page_style.apply()
    pages = [st.Page(path, title=title, default=path == PAGES[0][0]) for path, title in PAGES]
    about = st.Page("views/guide.py", title=guide.WORD, url_path=guide.PAGE, visibility="hidden")
    page = st.navigation([*pages, about], position="top")
    if page is about:
        page.run()
        return
    st.session_state[guide.SECTION] = page.title
    found = run_finder.discover()
    for sentence in found.unreadable:
        say(sentence)
    if not found.entries:
        st.title("entropylab", anchor=False)
        st.markdown(NO_RUNS)
        return
    with st.sidebar:
        run_picker.show(found.entries)
    page.run()


main()
