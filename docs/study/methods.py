"""The tables of the methods: what each arm does at equal steps and at equal entropy, with intervals.

python docs/study/methods.py             # from results/, seconds
python docs/study/methods.py --train 2   # train what is missing first, two runs at a time (hours)
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from itertools import product

import numpy as np
import pandas as pd
from arms import BASELINE, METHOD_REGIMES, REGIMES
from markdown_tables import collect_as_asked, markdown, write_tables
from numpy.typing import NDArray
from paired import Difference, paired_difference
from runner import SAMPLES
from stored import CURVES, SCORES, STARTS_FILE

from entropylab.lab.countdown import VOCABULARY as COUNTDOWN_VOCABULARY, all_problems, solutions
from entropylab.lab.scores import pass_at

TIMES = COUNTDOWN_VOCABULARY.index("*")

PRIMARY_ARMS = ("clip_cov", "clip_cov-released", "kl_cov", "kl_cov-released")
PRIMARY_MEASURES = ("pass@8", "greedy")
PAIR = ["warm_up", "seed"]
"""What an arm and the baseline have in common."""
CLIP_COV = "clip_cov"
HOLDING_ARMS = ("clip_cov_top", "clip_cov_micro", "kl_cov", "kl_cov_targeted", "kl_penalty")
"""Arms that hold the entropy as well, or should."""

Measure = Callable[[pd.DataFrame], NDArray[np.float64]]
MEASURES: dict[str, Measure] = {
    "greedy": lambda rows: rows["greedy"].to_numpy(np.float64),
    "T=1": lambda rows: rows["right"].to_numpy(np.float64) / SAMPLES,
    "pass@8": lambda rows: pass_at(8, rows["right"].to_numpy(), SAMPLES),
    "pass@32": lambda rows: pass_at(32, rows["right"].to_numpy(), SAMPLES),
    "distinct": lambda rows: rows["distinct"].to_numpy(np.float64),
}
"""Per problem, from 32 samples and one greedy answer."""


@cache
def needs_multiplication() -> frozenset[int]:
    """Prompt ids of the countdown problems that no chain without * solves."""
    return frozenset(
        prompt_id
        for prompt_id, problem in enumerate(all_problems())
        if not any(
            chain[-1] == problem.target and TIMES not in (chain[1], chain[6])
            for chain in solutions(problem.numbers)
        )
    )


def only_multiplication(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the problems that need multiplication."""
    return rows[rows["prompt_id"].isin(needs_multiplication())]


def differences(scores: pd.DataFrame, arm: str, measure: Measure, base: str = BASELINE) -> Difference | None:
    """An arm less the baseline of the same warm-ups, seeds and problems of one regime; None without pairs."""
    own, other = (dict(tuple(scores[scores["arm"] == name].groupby(PAIR))) for name in (arm, base))
    groups: dict[int, list[NDArray[np.float64]]] = {}
    for key, rows in own.items():
        if key in other:
            groups.setdefault(key[0], []).append(measure(rows) - measure(other[key]))
    return paired_difference(list(groups.values())) if groups else None


def at_equal_entropy(curves: pd.DataFrame, arm: str, metric: str) -> tuple[Difference | None, int]:
    """The arm at its end less the baseline where its entropy was the same; pairs without such a place."""
    found: dict[int, list[NDArray[np.float64]]] = {}
    missing = 0
    base = dict(tuple(curves[curves["arm"] == BASELINE].groupby(PAIR)))
    for key, rows in curves[curves["arm"] == arm].groupby(PAIR):
        if key not in base:
            continue
        last = rows.loc[rows["step"].idxmax()]
        value = _baseline_at(base[key], last["entropy"], metric)
        if value is None:
            missing += 1
        else:
            found.setdefault(key[0], []).append(np.array([last[metric] - value]))
    return (paired_difference(list(found.values())) if found else None), missing


def _baseline_at(rows: pd.DataFrame, entropy: float, metric: str) -> float | None:
    """The baseline's score at the last place where its entropy was this high, linear between evaluations."""
    rows = rows.sort_values("step")
    h, score = rows["entropy"].to_numpy(), rows[metric].to_numpy()
    for i in range(len(h) - 1, 0, -1):
        if min(h[i - 1], h[i]) <= entropy <= max(h[i - 1], h[i]) and h[i] != h[i - 1]:
            share = (entropy - h[i - 1]) / (h[i] - h[i - 1])
            return float(score[i - 1] + share * (score[i] - score[i - 1]))
    return None


def levels(regime: str, scores: pd.DataFrame, curves: pd.DataFrame, starts: pd.DataFrame) -> str:
    """Means of every arm at the end of its runs."""
    rows = [["start", "", *(f"{measure(starts).mean():.3f}" for measure in MEASURES.values())]]
    end = curves.loc[curves.groupby(["arm", "warm_up", "seed"])["step"].idxmax()]
    for arm in arms_of(regime, scores):
        own = scores[scores["arm"] == arm]
        entropy = end[end["arm"] == arm]["entropy"].mean()
        rows.append([arm, f"{entropy:.3f}", *(f"{measure(own).mean():.3f}" for measure in MEASURES.values())])
    return markdown(["arm", "H", *MEASURES], rows)


def arms_of(regime: str, scores: pd.DataFrame) -> list[str]:
    """Labels of the arms with scores, in the order of the protocol, each before its released form."""
    found = set(scores["arm"].unique())
    order = [name for arm in REGIMES[regime].arms for name in (arm.label, f"{arm.label}-released")]
    return [name for name in order if name in found]


def equal_steps(regime: str, scores: pd.DataFrame) -> str:
    """Differences from the baseline at equal steps."""
    return _less(regime, scores, arms_of(regime, scores)[1:], BASELINE)


def beside_clip_cov(regime: str, scores: pd.DataFrame) -> str:
    """Differences of the other arms that hold the entropy from Clip-Cov, at equal steps."""
    found = scores["arm"].unique()
    return _less(regime, scores, [arm for arm in HOLDING_ARMS if arm in found], CLIP_COV)


def _less(regime: str, scores: pd.DataFrame, arms: list[str], base: str) -> str:
    rows, multiplying = [], only_multiplication(scores)
    for arm in arms:
        cells = [differences(scores, arm, measure, base) for measure in MEASURES.values()]
        if regime != "coloring":
            cells.append(differences(multiplying, arm, MEASURES["pass@8"], base))
        first = cells[0]
        pairs = f"{first.pairs} ({first.warm_ups} warm-ups)" if first else ""
        rows.append([arm, *("" if cell is None else cell.text() for cell in cells), pairs])
    extra = [] if regime == "coloring" else ["pass@8 where * is needed"]
    heading = "less the baseline" if base == BASELINE else f"less {base}"
    return markdown([heading, *MEASURES, *extra, "pairs"], rows)


def equal_entropy(regime: str, scores: pd.DataFrame, curves: pd.DataFrame) -> str:
    """Differences from the baseline at equal entropy, on validation."""
    rows = []
    for arm in arms_of(regime, scores)[1:]:
        cells = [
            at_equal_entropy(curves, arm, metric) for metric in ("accuracy_greedy", "accuracy", "pass@8")
        ]
        if any(cell for cell, _ in cells):
            rows.append([arm, *("" if cell is None else cell.text() for cell, _ in cells), str(cells[0][1])])
    return markdown(["at equal entropy", "greedy", "T=1", "pass@8", "pairs without"], rows)


def primary(scores: pd.DataFrame) -> str:
    """The comparisons that were named in advance, with both intervals."""
    rows = []
    for regime, own in scores.groupby("regime", sort=False):
        for arm, name in product(PRIMARY_ARMS, PRIMARY_MEASURES):
            found = differences(own, arm, MEASURES[name])
            if found is not None and found.warm_ups > 1:
                rows.append([str(regime), arm, name, found.text(), found.t_text(), str(found.warm_ups)])
    return markdown(["regime", "arm", "measure", "less the baseline", "t interval", "warm-ups"], rows)


def write(regime: str, scores: pd.DataFrame, curves: pd.DataFrame, starts: pd.DataFrame) -> str:
    """The tables of one regime as a file; its text."""
    parts = [
        f"## Regime {regime}",
        levels(regime, scores, curves, starts),
        equal_steps(regime, scores),
        equal_entropy(regime, scores, curves),
        beside_clip_cov(regime, scores),
    ]
    return write_tables(f"methods-{regime}", parts)


def main() -> None:
    """The command line."""
    collect_as_asked(__doc__ or "", "methods")
    scores, curves, starts = (pd.read_parquet(path) for path in (SCORES, CURVES, STARTS_FILE))
    for regime in (regime.name for regime in METHOD_REGIMES):
        own = [frame[frame["regime"] == regime] for frame in (scores, curves, starts)]
        if len(own[0]):
            print(write(regime, *own))
    print(write_tables("primary", ["## The comparisons named in advance", primary(scores)]))


if __name__ == "__main__":
    main()
