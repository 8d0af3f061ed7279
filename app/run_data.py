"""What the pages read: run folders found, and frames and results of them, kept until the folder changes."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st
from kept_run import RUN_FILE, KeptRun, folder_stamp

from entropylab.errors import EntropylabError
from entropylab.record.reader import Problem

if TYPE_CHECKING:
    from entropylab.analysis.attribution import Attribution
    from entropylab.analysis.comparison import Comparison
    from entropylab.analysis.curve import CurveFit
    from entropylab.analysis.curve_forecast import CurveForecast
    from entropylab.analysis.tails import TailReport

PATHS_VARIABLE = "ENTROPYLAB_PATHS"
TOKEN_STEPS = 20
"""Steps whose token rows are read at once."""


@dataclass(frozen=True)
class Entry:
    """One run in the sidebar; `stamp` changes with the folder, so that what is kept of it is read anew."""

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


def roots() -> list[Path]:
    """The data roots: those of the environment, else ./runs, else the sample logs."""
    given = [Path(part) for part in os.environ.get(PATHS_VARIABLE, "").split(os.pathsep) if part]
    if given:
        return given
    checkout = Path(__file__).resolve().parent.parent
    usual = (Path("runs"), checkout / "sample_logs", Path("sample_logs"))
    return [path for path in usual if next(_run_folders(path), None)][:1]


def discover() -> Found:
    """Every run below the roots, by group and name; a broken one is a sentence and hides no other."""
    entries: list[Entry] = []
    unreadable: list[str] = []
    for root in roots():
        folders = sorted(_run_folders(root))
        if not folders:
            unreadable.append(_nothing_at(root))
        for folder in folders:
            try:
                entries.append(_entry(str(folder), folder_stamp(folder), *_names(folder, root)))
            except (EntropylabError, OSError) as error:
                unreadable.append(str(error))
    entries.sort(key=lambda e: (e.group, e.method != "baseline", e.name))
    return Found(tuple(entries), tuple(unreadable))


def steps(entry: Entry) -> pd.DataFrame:
    """The summary of every step."""
    return _run(entry.path).steps()


def evaluations(entry: Entry) -> pd.DataFrame:
    """Every evaluation, long form."""
    return _run(entry.path).evaluations()


def validation_metrics(entry: Entry) -> list[str]:
    """Names of the metrics evaluated on the split "validation"."""
    found = evaluations(entry)
    return found.loc[found["split"] == "validation", "metric"].unique().tolist()


def points(entry: Entry, metric: str, entropy: str) -> pd.DataFrame:
    """The points of the law: step, entropy, performance, n."""
    return _points(entry.path, entry.stamp, metric, entropy)


def law(entry: Entry, metric: str, entropy: str) -> CurveFit:
    """The law fitted on all evaluations."""
    return _law(entry.path, entry.stamp, metric, entropy)


def forecast(entry: Entry, metric: str, entropy: str, first: int) -> CurveForecast:
    """The law fitted on the first evaluations, and what it says about the others."""
    return _forecast(entry.path, entry.stamp, metric, entropy, first)


def token_steps(entry: Entry, *, last: bool) -> tuple[int, ...]:
    """The first or the last steps that have token rows, as many as a report reads."""
    held = _run(entry.path).token_steps()
    return tuple(held[-TOKEN_STEPS:] if last else held[:TOKEN_STEPS])


def tails(entry: Entry, chosen: tuple[int, ...]) -> TailReport:
    """The tail report of the token rows of some steps."""
    return _tails(entry.path, entry.stamp, chosen)


def selection(entry: Entry, chosen: tuple[int, ...]) -> Attribution:
    """Which tokens of some steps were selected, and which carry the tail."""
    return _selection(entry.path, entry.stamp, chosen)


def comparison(entries: Sequence[Entry]) -> Comparison:
    """The runs beside each other."""
    return _comparison(tuple((e.path, e.stamp) for e in entries))


@st.cache_resource(show_spinner=False)
def _run(path: str) -> KeptRun:
    """One reader a folder."""
    return KeptRun(path)


@st.cache_data(show_spinner="Reading the runs", max_entries=500)
def _entry(path: str, stamp: float, slug: str, group: str) -> Entry:
    run = _run(path)
    return Entry(
        path, stamp, slug, group, run.name, run.method, len(run.whole_steps()), tuple(run.problems())
    )


@st.cache_data(show_spinner=False, max_entries=500)
def _points(path: str, stamp: float, metric: str, entropy: str) -> pd.DataFrame:
    from entropylab.analysis.curve_data import law_points

    return law_points(_run(path), metric=metric, entropy=entropy)


@st.cache_data(show_spinner="Fitting the law", max_entries=500)
def _law(path: str, stamp: float, metric: str, entropy: str) -> CurveFit:
    from entropylab.analysis.curve_data import fit_run

    return fit_run(_run(path), metric=metric, entropy=entropy)


@st.cache_data(show_spinner="Fitting the first evaluations", max_entries=500)
def _forecast(path: str, stamp: float, metric: str, entropy: str, first: int) -> CurveForecast:
    from entropylab.analysis.curve_forecast import forecast_curve

    chosen = _points(path, stamp, metric, entropy)
    return forecast_curve(chosen["entropy"], chosen["performance"], first=first, steps=chosen["step"])


@st.cache_data(show_spinner="Reading token rows and testing their tails", max_entries=50)
def _tails(path: str, stamp: float, chosen: tuple[int, ...]) -> TailReport:
    from entropylab.analysis.tail_data import analyze_run

    return analyze_run(_run(path), steps=chosen or None)


@st.cache_data(show_spinner="Reading token rows of the selection", max_entries=50)
def _selection(path: str, stamp: float, chosen: tuple[int, ...]) -> Attribution:
    from entropylab.analysis.attribution import attribute

    return attribute(_run(path), steps=chosen or None)


@st.cache_data(show_spinner="Comparing the runs", max_entries=50)
def _comparison(runs: tuple[tuple[str, float], ...]) -> Comparison:
    from entropylab.analysis.comparison import compare_runs

    return compare_runs([_run(path) for path, _ in runs])


def _run_folders(root: Path) -> Iterator[Path]:
    """The folders at or below `root` that hold a `_run.json`, without looking inside a run or a hidden folder."""
    for folder, below, files in os.walk(root):
        if RUN_FILE in files:
            below.clear()
            yield Path(folder)
        below[:] = [name for name in below if not name.startswith(".")]


def _names(folder: Path, root: Path) -> tuple[str, str]:
    """(slug, group): the place below the root, and the folder that the run shares with its neighbours."""
    place = folder.resolve().relative_to(root.resolve())
    shared = place.parent.as_posix()
    group = root.resolve().name if shared in (".", "") and place.parts else shared
    return (place.as_posix() if place.parts else folder.resolve().name), (group if place.parts else "runs")


def _nothing_at(root: Path) -> str:
    where = "holds no run" if root.is_dir() else "does not exist"
    return f"{root} {where}: give a folder that has a {RUN_FILE} at or below it, or make runs with  entropylab demo"
