"""Entry of the dashboard: the pages, and the sidebar that they share."""

from __future__ import annotations

import guide
import page_style
import run_finder
import run_picker
import streamlit as st
from notices import say

PAGES = (
    ("views/overview.py", "Overview", ":material/monitoring:"),
    ("views/curves.py", "Curves", ":material/timeline:"),
    ("views/law.py", "Law", ":material/show_chart:"),
    ("views/tails.py", "Tails", ":material/ssid_chart:"),
    ("views/selection.py", "Selection", ":material/grid_view:"),
    ("views/what_if.py", "What-if", ":material/tune:"),
    ("views/dynamics.py", "Dynamics", ":material/scatter_plot:"),
    ("views/influence.py", "Influence", ":material/rule:"),
    ("views/tokens.py", "Tokens", ":material/notes:"),
    ("views/compare.py", "Compare", ":material/compare_arrows:"),
    ("views/data.py", "Data", ":material/database:"),
)

NO_RUNS = (
    "There is no run to show yet. Make three small ones with `entropylab demo` (about two minutes on a laptop), "
    "or open your own with `entropylab dashboard PATH`."
)


def main() -> None:
    """Draw the sidebar and the page that the URL names."""
    st.set_page_config(page_title="entropylab", page_icon=page_style.ICON, layout="wide")
    page_style.apply()
    pages = [
        st.Page(path, title=title, icon=icon, default=path == PAGES[0][0]) for path, title, icon in PAGES
    ]
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
