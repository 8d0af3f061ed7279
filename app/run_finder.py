"""Which runs there are: the data roots, the folders below them, and what the sidebar says of each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import streamlit as st
from kept_run import RUN_FILE, folder_stamp, reader

from entropylab.cli.dashboard import PATHS_VARIABLE
from entropylab.errors import EntropylabError, RunNotFoundError
from entropylab.record.paths import local_path
from entropylab.record.reader import Problem

SECONDS_BETWEEN_WALKS = 10


@dataclass(frozen=True)
class Entry:
    """One run in the sidebar; `stamp` changes with the folder, so that what is kept of it is read anew.

    `slug` is its place below the data root, `group` the folder that it shares with its neighbours.
    """

    path: str
    stamp: float
    slug: str
    group: str
    name: str
    method: str
    n_steps: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True)
class Found:
    """The runs below the data roots, and a sentence for each place that could not be read."""

    entries: tuple[Entry, ...]
    unreadable: tuple[str, ...]


def roots() -> list[str]:
    """The data roots: those of the environment, else ./runs, else the sample logs."""
    given = [part for part in os.environ.get(PATHS_VARIABLE, "").split(os.pathsep) if part]
    if given:
        return given
    checkout = Path(__file__).resolve().parent.parent
    usual = (Path("runs"), checkout / "sample_logs", Path("sample_logs"))
    return [str(path) for path in usual if _folders(str(path))][:1]


def discover() -> Found:
    """Every run below the roots, by group and name; a broken one is a sentence and hides no other."""
    entries: list[Entry] = []
    unreadable: list[str] = []
    for root in roots():
        try:
            folders = _folders_at(root)
        except EntropylabError as error:
            unreadable.append(str(error))
            continue
        for folder in folders:
            try:
                entries.append(_entry(folder, folder_stamp(Path(folder)), *_names(folder, root)))
            except (EntropylabError, OSError) as error:
                unreadable.append(str(error))
    entries.sort(key=lambda e: (e.group, e.method != "baseline", e.name))
    return Found(tuple(_distinct(entries)), tuple(unreadable))


def _folders_at(root: str) -> list[str]:
    """The run folders at or below a root; an error that says what is wrong with the root."""
    folder = local_path(root)
    if not folder.exists():
        raise RunNotFoundError(
            f"{root} does not exist: give a folder with runs, or make some with  entropylab demo"
        )
    found = _folders(str(folder))
    if not found:
        raise RunNotFoundError(
            f"{root} holds no run: give a folder that has a {RUN_FILE} at or below it, or make runs with  "
            "entropylab demo"
        )
    return found


@st.cache_data(show_spinner="Looking for runs", ttl=SECONDS_BETWEEN_WALKS)
def _folders(root: str) -> list[str]:
    return sorted(_walk(root))


def _walk(root: str) -> Iterator[str]:
    """The folders that hold a run file, without looking inside a run or a hidden folder."""
    for folder, below, files in os.walk(root):
        if RUN_FILE in files:
            below.clear()
            yield folder
        below[:] = [name for name in below if not name.startswith(".")]


@st.cache_data(show_spinner="Reading the runs", max_entries=500)
def _entry(path: str, stamp: float, slug: str, group: str) -> Entry:
    run = reader(path)
    steps = run.whole_steps()
    problems = tuple(run.problems(rows=False))
    return Entry(path, stamp, slug, group, run.name, run.method, len(steps), problems)


def _names(folder: str, root: str) -> tuple[str, str]:
    """(slug, group) of a run folder below a root, or at it."""
    here, top = Path(folder).resolve(), Path(root).resolve()
    if here == top:
        return here.name, here.parent.name
    place = here.relative_to(top)
    shared = place.parent.as_posix()
    return place.as_posix(), (top.name if shared == "." else shared)


def _distinct(entries: list[Entry]) -> Iterator[Entry]:
    """Runs of several roots may have one slug; then the whole path tells them apart."""
    counts = Counter(e.slug for e in entries)
    return (e if counts[e.slug] == 1 else replace(e, slug=e.path) for e in entries)
