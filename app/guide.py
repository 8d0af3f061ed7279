"""The guide to the pages: its text is docs/dashboard.md, a section a page; charts and pages link to it."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import streamlit as st

PAGE = "guide"
"""Its path in the address."""
WORD = "Guide"
SECTION = "guide_section"
"""Key of the session's state: the title of the page that is drawn."""
_HERE = Path(__file__).parent
_PLACES = (_HERE / "dashboard.md", _HERE.parent / "docs" / "dashboard.md")
_PICTURE = re.compile(r"^!\[[^]]*\]\([^)]*\)\n+", re.MULTILINE)


@cache
def text() -> str:
    """The guide in Markdown without its pictures; in a wheel it lies beside the app."""
    return _PICTURE.sub("", next(place for place in _PLACES if place.is_file()).read_text(encoding="utf-8"))


def section(title: str) -> str:
    """The part of the guide under one heading."""
    return text().split(f"\n## {title}\n", 1)[1].split("\n## ", 1)[0].strip()


def link() -> str:
    """A Markdown link to the section of the page that is drawn; it opens in a tab of its own."""
    return f"[{WORD}]({PAGE}#{st.session_state[SECTION].lower()})"


def how_to_read(title: str) -> None:
    """The section of a page, folded, at its foot."""
    with st.expander("How to read this"):
        st.markdown(section(title))
