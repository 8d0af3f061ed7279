"""The one place where an error becomes a sentence on the page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import streamlit as st

from entropylab.errors import EntropylabError


@contextmanager
def in_words(subject: str = "") -> Iterator[None]:
    """Run a block of the page; where it cannot be shown, say why in its place."""
    try:
        yield
    except (EntropylabError, OSError) as error:
        say(f"{subject}: {error}" if subject else str(error))


def say(sentence: str) -> None:
    """A plain sentence in place of something that cannot be shown."""
    st.info(escaped(sentence), icon=":material/info:")


def escaped(text: str) -> str:
    """Text as it is, where Markdown would read signs in it (names with underscores, dollars, colons)."""
    return re.sub(r"[\\`*_\[\]$~<>]|:(?=\w)", r"\\\g<0>", text).replace("\n", "  \n")
