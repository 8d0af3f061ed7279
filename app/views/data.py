"""Data: what the run folders hold, how large they are, what was sampled, and what is wrong with them."""

from __future__ import annotations

import guide
import page_style
import pandas as pd
import run_data
import run_picker
import streamlit as st
from notices import in_words
from run_picker import Picked


def page() -> None:
    """A row a run, then the problems by name."""
    chosen = run_picker.chosen_runs()
    with in_words("Data"):
        table = pd.DataFrame([run_data.folder_facts(e) | {"run": chosen.label(e)} for e in chosen.entries])
        problems = _problems(chosen)
        opening(table, problems)
        folders(table)
        listed(problems)
    guide.how_to_read("Data")


def opening(table: pd.DataFrame, problems: pd.DataFrame) -> None:
    """Sizes in a sentence, then the problems."""
    n = len(table)
    size, tokens = table["bytes"].sum(), table["tokens"].sum()
    found = len(problems)
    wrong = f"{found} problem{'s' * (found != 1)} found" if found else "no problem found"
    page_style.opening(
        f"{n} run{'s' * (n != 1)}, {table['steps'].sum():,} whole steps, {tokens:,} tokens of which "
        f"{table['token rows'].sum():,} are stored, {_size(size)} on disk; {wrong}."
    )


def folders(table: pd.DataFrame) -> None:
    """One row a run."""
    columns = [
        "run",
        "method",
        "steps",
        "tokens",
        "token rows",
        "bytes",
        "files",
        "attempts",
        "ranks",
        "sampling",
    ]
    shown = table[[*columns, "folder"]].assign(bytes=[_size(b) for b in table["bytes"]])
    whole = st.column_config.NumberColumn(format="localized")
    st.dataframe(
        shown.rename(columns={"bytes": "size"}),
        hide_index=True,
        column_config=dict.fromkeys(("tokens", "token rows", "files"), whole),
    )


def listed(problems: pd.DataFrame) -> None:
    """Every problem by name."""
    if problems.empty:
        st.caption(":material/check: Every row file was opened; none is damaged and every step is whole.")
        return
    st.markdown("##### Problems")
    st.dataframe(problems, hide_index=True)


def _problems(chosen: Picked) -> pd.DataFrame:
    rows = [
        {
            "run": chosen.label(e),
            "kind": p.kind.replace("_", " "),
            "file": p.path,
            "what and how to mend": p.message,
        }
        for e in chosen.entries
        for p in run_data.all_problems(e)
    ]
    return pd.DataFrame(rows)


def _size(n: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n >= size:
            return f"{n / size:.1f} {unit}"
    return f"{n:.0f} B"


page()
