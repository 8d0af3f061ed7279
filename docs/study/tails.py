"""The table of the tail: its shape, its null and its quadrants by regime, arm and part of the training.

python docs/study/tails.py           # from results/, seconds
python docs/study/tails.py --scan    # read the token rows of the finished runs first (minutes)
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd
from arms import REGIMES
from markdown_tables import markdown, write_tables
from methods import arms_of
from runner import JOBS, Job
from stored import RESULTS, RUN, add

from entropylab.analysis.tail_data import analyze_run
from entropylab.record.reader import open_run

TAILS = RESULTS / "tails.parquet"
QUADRANTS = ("low_below", "low_above", "high_above", "high_below")
PARTS = {"first third": (0.0, 1 / 3), "last third": (2 / 3, 1.0)}
"""Parts of the steps whose rows are stored."""


def scan() -> None:
    """Analyse the finished runs that are not yet among the results, and add them."""
    stored = set(pd.read_parquet(TAILS)[RUN].itertuples(index=False, name=None)) if TAILS.exists() else set()
    for jobs in JOBS.values():
        for job in jobs():
            for method in job.methods() if job.is_done else ():
                if (job.regime, job.warm_up, job.seed, method.label) not in stored:
                    add(pd.DataFrame(_of_run(job, method.label)), TAILS, [*RUN, "part"])


def _of_run(job: Job, label: str) -> Iterator[dict[str, object]]:
    run = open_run(job.folder / label)
    regime = REGIMES[job.regime]
    steps = list(range(0, regime.steps, regime.evaluate_every))
    for part, (low, high) in PARTS.items():
        chosen = steps[round(low * len(steps)) : round(high * len(steps))]
        report = analyze_run(run, steps=chosen)
        top = report.quadrants.query("set == 'top 2 %'").set_index("quadrant")["share"]
        nulls = report.nulls.query("tail == 'right'").set_index("fraction")
        yield {
            "regime": job.regime,
            "warm_up": job.warm_up,
            "seed": job.seed,
            "arm": label,
            "part": part,
            "n": report.n,
            "shape": report.verdict[0],
            "null": report.verdict[1],
            "mean": report.mean,
            "ratio_2_percent": nulls.loc[0.02, "ratio"],
            "share_positive_2_percent": report.top_share_positive[0.02],
            **{
                name: top.get(name, np.nan) for name in ("low_below", "low_above", "high_above", "high_below")
            },
        }


def table(found: pd.DataFrame, regime: str) -> str:
    """Verdicts counted and figures averaged over the runs of each arm and part."""
    own = found[found["regime"] == regime]
    rows = []
    for arm in arms_of(regime, own):
        for part in PARTS:
            cell = own[(own["arm"] == arm) & (own["part"] == part)]
            means = cell.mean(numeric_only=True)
            rows.append(
                [
                    arm,
                    part,
                    str(len(cell)),
                    _counts(cell["shape"]),
                    _counts(cell["null"]),
                    f"{means['ratio_2_percent']:.2f}",
                    f"{means['share_positive_2_percent']:.0%}",
                    *(f"{means[name]:.0%}" for name in QUADRANTS[:3]),
                ]
            )
    columns = ["arm", "part", "runs", "shape", "against independence", "top 2 % over the null's"]
    columns += ["of the positive mass", "low p, A < mean", "low p, A > mean", "high p, A > mean"]
    return markdown(columns, rows)


def _counts(column: pd.Series) -> str:
    return ", ".join(f"{name} {count}" for name, count in column.value_counts().items())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--scan", action="store_true", help="read the token rows of the finished runs first")
    if parser.parse_args().scan:
        scan()
    found = pd.read_parquet(TAILS)
    parts = ["## The tail of the covariance"]
    for regime in REGIMES:
        if regime in set(found["regime"]):
            parts += [f"### Regime {regime}", table(found, regime)]
    print(write_tables("tails", parts))


if __name__ == "__main__":
    main()
