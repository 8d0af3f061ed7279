"""Runs side by side: end values, means over seeds, differences from the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit

from ..errors import InvalidInputError
from ..record.reader import Run
from .cluster_bootstrap import Floats
from .comparison_figures import EVALUATIONS, compared_metrics, figure_names, problems_of, run_figures
from .comparison_matched import AT, Curves, curves_of, matched_values
from .jsonable import jsonable

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BASELINE = "baseline"
"""Method label of the runs that others are compared with."""

_IN_WORDS = {"accuracy": "accuracy at T=1", "accuracy_greedy": "greedy accuracy"}


@dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare_runs` found.

    `metrics`: the evaluations that are compared, accuracies at T=1 and greedy and pass@8 where a run has one.
    `runs`: one row a run: method, seed, and its figures (accuracies are fractions; `_start` is the first
    evaluation or step, `_end` the mean of the last 4 evaluations or 10 steps after it; entropy in nats).
    `methods`: one row a (method, metric): n_runs, mean, and its t interval over runs (NaN with one run).
    `differences`: one row a (method, metric): method less baseline; `pairs` runs are paired by seed and start
    (0: not paired, Welch interval). `matched`: the same for accuracies where both have trained equally many
    steps, on equally many tokens, or down to the same entropy (`at`; `x`: the farthest that all runs of both
    reached). low, high: over seeds; wide_low, wide_high, of accuracies: over seeds and problems, as if those
    of the two methods were not the same, so rather too wide. Intervals are at `level`.
    """

    runs: pd.DataFrame
    methods: pd.DataFrame
    differences: pd.DataFrame
    matched: pd.DataFrame
    level: float = 0.95
    warnings: tuple[str, ...] = ()
    metrics: tuple[str, ...] = EVALUATIONS

    @property
    def shown(self) -> tuple[str, ...]:
        """The entropy, and each of `metrics` that a run holds."""
        held = [name for name in self.metrics if self.runs[f"{name}_end"].notna().any()]
        return ("entropy", *held)

    def summary(self) -> str:
        """A line a method: differences from the baseline where there is one, end values otherwise."""
        compared = list(dict.fromkeys(self.differences["method"]))
        lines = [self._difference_line(name) for name in compared]
        lines += [self._matched_line(name) for name in compared if len(self.shown) > 1]
        lines += [self._method_line(name) for name in dict.fromkeys(self.methods["method"])]
        return "\n".join([*lines, *(f"warning: {w}" for w in self.warnings)])

    def _difference_line(self, method: str) -> str:
        rows = self.differences[self.differences["method"] == method].set_index("metric")
        parts = [f"{_IN_WORDS.get(m, m)} {_signed(rows.loc[f'{m}_end'])}" for m in self.shown]
        pairs = int(rows["pairs"].max())
        how = f"{pairs} pair{'s' * (pairs != 1)} of seeds" if pairs else "unpaired runs"
        return f"{method} less {BASELINE}, {how}: {', '.join(parts)}."

    def _matched_line(self, method: str) -> str:
        metric = self.shown[1]
        rows = self.matched[(self.matched["method"] == method) & (self.matched["metric"] == metric)]
        parts = [f"equal {row.at} {_matched_gap(row)}" for row in rows.itertuples()]
        return f"{method} less {BASELINE}, {_IN_WORDS.get(metric, metric)} at {', at '.join(parts)}."

    def _method_line(self, method: str) -> str:
        rows = self.methods[self.methods["method"] == method].set_index("metric")
        parts = [f"{_IN_WORDS.get(m, m)} {_plain(rows.loc[f'{m}_end'])}" for m in self.shown]
        n = int(rows["n_runs"].max())
        return f"{method}, {n} run{'s' * (n != 1)}, end: {', '.join(parts)}."

    def to_dict(self) -> dict[str, Any]:
        """All figures, JSON-ready; tables as lists of rows."""
        return jsonable({name: getattr(self, name) for name in self.__dataclass_fields__})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the methods side by side; needs matplotlib."""
        from ..plots.comparison import draw_comparison

        return draw_comparison(self, ax)


def compare_runs(runs: Iterable[Run], *, level: float = 0.95) -> Comparison:
    """Set runs side by side: per run, per method over seeds, and against the runs of method "baseline".

    Intervals are Student's t over runs, the difference paired where seed and start match. A missing figure
    stays missing (NaN) and a warning says why. Raises InvalidInputError where no run is given.
    """
    if not 0 < level < 1:
        raise InvalidInputError(f"level is {level}; give a probability between 0 and 1, e.g. 0.95")
    runs = list(runs)
    if not runs:
        raise InvalidInputError("no run to compare: give a list of runs, e.g. el.open_runs(path)")
    metrics = compared_metrics(runs)
    found = [run_figures(run, metrics) for run in runs]
    table = pd.DataFrame([row for row, _ in found])
    names = list(figure_names(metrics))
    table[names] = table[names].astype(np.float64)
    warnings = [note for _, notes in found for note in notes] + _table_warnings(table)
    curves = [curves_of(run, metrics) for run in runs]
    sizes = [problems_of(run) for run in runs]
    return Comparison(
        runs=table,
        methods=_methods(table, names, level),
        differences=_differences(table, names, level),
        matched=_matched(table, curves, sizes, level),
        level=level,
        warnings=tuple(warnings),
        metrics=metrics,
    )


def _methods(table: pd.DataFrame, names: Sequence[str], level: float) -> pd.DataFrame:
    rows = []
    for method, group in table.groupby("method", sort=False):
        for metric in names:
            values = group[metric].dropna().to_numpy()
            mean, low, high = mean_interval(values, level)
            rows.append((method, metric, len(values), mean, low, high))
    return pd.DataFrame(rows, columns=["method", "metric", "n_runs", "mean", "low", "high"])


def _differences(table: pd.DataFrame, names: Sequence[str], level: float) -> pd.DataFrame:
    rows = []
    base = table[table["method"] == BASELINE]
    for method, group in table[table["method"] != BASELINE].groupby("method", sort=False):
        if base.empty:
            break
        for metric in names:
            rows.append((method, metric, *_difference(group, base, metric, level)))
    return pd.DataFrame(rows, columns=["method", "metric", "pairs", "difference", "low", "high"])


def _matched(
    table: pd.DataFrame, curves: Sequence[Curves], sizes: Sequence[float], level: float
) -> pd.DataFrame:
    rows = []
    base = table["method"] == BASELINE
    for method in dict.fromkeys(table.loc[~base, "method"]) if base.any() else ():
        both = base | (table["method"] == method)
        chosen = [i for i, wanted in enumerate(both) if wanted]
        known = [sizes[i] for i in chosen if np.isfinite(sizes[i])]
        problems = min(known, default=np.nan)
        for at in AT:
            x, values = matched_values([curves[i] for i in chosen], table[both], at)
            group, other = (values[values["method"] == name] for name in (method, BASELINE))
            for metric in curves[0].metrics:
                pairs, gap, low, high = _difference(group, other, metric, level)
                means = (group[metric].mean(), other[metric].mean())
                freedom = (pairs or min(len(group), len(other))) - 1
                n = problems if metric in EVALUATIONS else np.nan
                wide = widened(gap, low, high, means, n, freedom, level)
                rows.append((method, at, x, metric, pairs, gap, low, high, *wide))
    columns = ["method", "at", "x", "metric", "pairs", "difference", "low", "high", "wide_low", "wide_high"]
    return pd.DataFrame(rows, columns=columns)


def widened(
    gap: float,
    low: float,
    high: float,
    accuracies: tuple[float, float],
    problems: float,
    freedom: int,
    level: float,
) -> tuple[float, float]:
    """The interval of a difference of accuracies over seeds (``freedom`` degrees) and problems.

    variance = that of the seeds + Σ p (1 - p)/problems of both: all seeds meet the same problems, so their
    share does not shrink with seeds. Student's t with the degrees of freedom of Satterthwaite.
    """
    if not np.isfinite([low, high, problems]).all() or freedom < 1:
        return np.nan, np.nan
    seeds = ((high - low) / 2 / stdtrit(freedom, (1 + level) / 2)) ** 2
    shared = sum(p * (1 - p) for p in accuracies) / problems
    total = seeds + shared
    joint = freedom * (total / seeds) ** 2 if seeds > 0 else np.inf
    half = float(stdtrit(joint, (1 + level) / 2) * np.sqrt(total))
    return gap - half, gap + half


def _difference(
    group: pd.DataFrame, base: pd.DataFrame, metric: str, level: float
) -> tuple[int, float, float, float]:
    """(pairs, difference, low, high); unpaired where no seed matches."""
    gaps = paired_gaps(group, base, metric)
    if len(gaps):
        return len(gaps), *mean_interval(gaps, level)
    values, others = (part[metric].dropna().to_numpy() for part in (group, base))
    return 0, *welch_interval(values, others, level)


def paired_gaps(group: pd.DataFrame, base: pd.DataFrame, metric: str) -> Floats:
    """Rows of ``group`` less those of ``base`` of the same seed and start, [pairs]; empty where none is."""
    ours, theirs = (_by_seed(part, metric) for part in (group, base))
    return np.array([ours[key] - theirs[key] for key in ours if key in theirs])


def _by_seed(part: pd.DataFrame, metric: str) -> dict[tuple[Any, Any], float]:
    """The figure by (seed, start) for runs with a seed that no other of the method has."""
    known = part[part["seed"].notna() & part[metric].notna()]
    keys = [(seed, str(start)) for seed, start in zip(known["seed"], known["start"], strict=True)]
    pairs = zip(keys, known[metric], strict=True)
    return {key: float(value) for key, value in pairs if keys.count(key) == 1}


def mean_interval(values: Floats, level: float) -> tuple[float, float, float]:
    """(mean, low, high) by Student's t; the interval is NaN with fewer than 2 values, all with none."""
    if not len(values):
        return np.nan, np.nan, np.nan
    mean = float(values.mean())
    if len(values) < 2:
        return mean, np.nan, np.nan
    half = stdtrit(len(values) - 1, (1 + level) / 2) * values.std(ddof=1) / np.sqrt(len(values))
    return mean, float(mean - half), float(mean + half)


def welch_interval(ours: Floats, theirs: Floats, level: float) -> tuple[float, float, float]:
    """(difference of means, low, high) by Welch's t; the interval is NaN unless both sides have 2 values."""
    if not len(ours) or not len(theirs):
        return np.nan, np.nan, np.nan
    gap = float(ours.mean() - theirs.mean())
    if min(len(ours), len(theirs)) < 2:
        return gap, np.nan, np.nan
    parts = np.array([x.var(ddof=1) / len(x) for x in (ours, theirs)])
    if parts.sum() == 0:
        return gap, gap, gap
    freedom = parts.sum() ** 2 / (parts**2 / np.array([len(ours) - 1, len(theirs) - 1])).sum()
    half = stdtrit(freedom, (1 + level) / 2) * np.sqrt(parts.sum())
    return gap, float(gap - half), float(gap + half)


def _table_warnings(table: pd.DataFrame) -> list[str]:
    notes = []
    counts = table["method"].value_counts()
    single = [str(name) for name in counts.index if counts[name] == 1]
    if single:
        notes.append(f"one run only of {', '.join(single)}: no interval, differences may be the seed's")
    if BASELINE not in counts.index:
        notes.append('no run of method "baseline", so there are no differences')
    ends = sorted({int(x) for x in table["last_step"].dropna()})
    if len(ends) > 1:
        notes.append(
            f"the runs end at different steps ({', '.join(map(str, ends))}): end values differ in training"
        )
    if table["start"].nunique(dropna=True) > 1:
        starts = ", ".join(sorted(map(str, table["start"].dropna().unique())))
        notes.append(f"the runs start from different points ({starts}): means over runs mix them")
    if table[["method", "seed", "start"]].dropna(subset="seed").astype(str).duplicated().any():
        notes.append("some runs share method, seed and start: they are not paired by seed")
    return notes


def _plain(row: pd.Series) -> str:
    return _missing(row["mean"]) or f"{row['mean']:.3f}{_interval(row)}"


def _signed(row: pd.Series) -> str:
    return _missing(row["difference"]) or f"{row['difference']:+.3f}{_interval(row, '+')}"


def _matched_gap(row: Any) -> str:
    if not np.isfinite(row.x):
        return "missing (no place that all reached)"
    return f"({row.x:.4g}) {_signed(pd.Series(row._asdict()))}"


def _missing(value: float) -> str:
    return "" if np.isfinite(value) else "missing"


def _interval(row: pd.Series, sign: str = "") -> str:
    if not np.isfinite(row["low"]):
        return " (one run, no interval)"
    return f" ({row['low']:{sign}.3f} to {row['high']:{sign}.3f})"
