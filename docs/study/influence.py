"""The table of the influence: how the covariance and the controls rank tokens by what they do to the entropy.

python docs/study/influence.py             # from results/, seconds
python docs/study/influence.py --train 2   # train the runs with influence first, two at a time (an hour)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from itertools import product
from multiprocessing import get_context

import pandas as pd
from arms import BASELINE, RARE_X, REGIMES, SEEDS, START_A, WARM_UPS
from markdown_tables import markdown, write_tables
from runner import RUNS, STARTS
from stored import RESULTS, add

from entropylab.analysis.proxy_audit import audit_proxies
from entropylab.lab.experiment import RunPlan, make_run, one_thread
from entropylab.record.reader import open_run

INFLUENCE = RESULTS / "influence.parquet"
ARMS = (BASELINE, "clip_cov", "kl_cov")
EVERY = 20
WHOLE = "whole training"
PARTS = (WHOLE, "first third", "last third")
MEASURES = ("spearman", "overlap", "capture", "raises", "saved")
CELLS = tuple(product((START_A.name, RARE_X.name), ARMS))
"""The runs, all of one warm-up and one seed."""


def plan(regime: str, arm: str) -> RunPlan:
    """The run of an arm that the methods are compared by, made again with the influence of its tokens."""
    settings = replace(REGIMES[regime].settings(WARM_UPS[0], SEEDS[0]), influence_every=EVERY)
    return RunPlan(RUNS / "influence" / regime / arm, REGIMES[regime].arm(arm), settings)


def make(cell: tuple[str, str]) -> pd.DataFrame:
    """Train a run unless it is there; its audit in rows of regime, arm, part and proxy."""
    with one_thread():
        run = plan(*cell)
        make_run(run, STARTS)
    audit = audit_proxies(open_run(run.folder))
    groups = audit.groups[audit.groups["by"] == "training"].rename(columns={"group": "part"})
    rows = pd.concat([audit.proxies.assign(part=WHOLE, n_tokens=audit.n_tokens), groups])
    return rows[rows["part"].isin(PARTS)].drop(columns="by").assign(regime=cell[0], arm=cell[1])


def train(jobs: int) -> None:
    """Make all runs and add their audits to the results."""
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for cell, rows in zip(CELLS, pool.map(make, CELLS), strict=True):
            add(rows, INFLUENCE, ["regime", "arm", "part"])
            print("/".join(cell), flush=True)


def table(found: pd.DataFrame, regime: str, part: str) -> str:
    """Every proxy of every arm, with intervals over the prompts."""
    own = found[(found["regime"] == regime) & (found["part"] == part)]
    rows = [
        [row["arm"], row["proxy"], *(cell(row, measure) for measure in MEASURES)]
        for arm in ARMS
        for _, row in own[own["arm"] == arm].iterrows()
    ]
    return markdown(["arm", "top 2 % by", "Spearman", "overlap", "capture", "raise H", "saved"], rows)


def cell(row: pd.Series, measure: str) -> str:
    """A figure of a row with its interval."""
    value, low, high = (row[name] for name in (measure, f"{measure}_low", f"{measure}_high"))
    if pd.isna(value):
        return ""
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def pages(found: pd.DataFrame) -> Iterable[str]:
    """The parts of the page."""
    yield "## Which tokens move the entropy"
    for regime in dict.fromkeys(name for name, _ in CELLS):
        for part in PARTS:
            yield f"### Regime {regime}, {part}"
            yield table(found, regime, part)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--train", type=int, metavar="JOBS", help="train the runs first, so many at a time")
    jobs = parser.parse_args().train
    if jobs:
        train(jobs)
    print(write_tables("influence", list(pages(pd.read_parquet(INFLUENCE)))))


if __name__ == "__main__":
    main()
