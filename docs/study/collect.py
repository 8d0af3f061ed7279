"""From the run folders to the small tables that are committed: curves and scores of every finished run."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from arms import REGIMES
from runner import JOBS, STARTS, Job, score_start, scores_path
from stored import CURVES, RUN, SCORES, STARTS_FILE, TIMES, add

from entropylab.lab.warmup import start_path
from entropylab.record.reader import open_run

LAST_STEPS = 10
"""Rollouts at the end whose mean entropy is the entropy at the end."""


def collect() -> None:
    """Write the scores and curves of the runs that are finished, and the scores of their starts."""
    done = [job for jobs in JOBS.values() for job in jobs() if job.is_done]
    runs = [(job, method.label) for job in done for method in job.methods()]
    if not runs:
        return
    scores = [
        _tagged(pd.read_parquet(scores_path(job.folder, method)), job, method.label)
        for job in done
        for method in job.methods()
    ]
    add(pd.concat(scores), SCORES, RUN)
    add(pd.concat([_tagged(_curve(job.folder / label), job, label) for job, label in runs]), CURVES, RUN)
    add(pd.concat(map(_times, done)), TIMES, RUN)
    add(pd.concat(_starts(done)), STARTS_FILE, ["regime", "warm_up"])


def _tagged(frame: pd.DataFrame, job: Job, label: str) -> pd.DataFrame:
    tags = {"regime": job.regime, "warm_up": job.warm_up, "seed": job.seed, "arm": label}
    return frame.assign(**tags)[[*tags, *frame.columns]]


def _curve(folder: Path) -> pd.DataFrame:
    """Validation scores at their steps, with the entropy of the rollouts around each and at the end."""
    run = open_run(folder)
    evaluations = run.evaluations()
    wide = evaluations[evaluations["split"] == "validation"].pivot(
        index="step", columns="metric", values="value"
    )
    entropy = run.steps().set_index("step")["entropy_token_mean"]
    smooth = entropy.rolling(LAST_STEPS, min_periods=1).mean()
    wide["entropy"] = smooth.reindex(wide.index.to_numpy() - 1).to_numpy()
    wide.loc[0, "entropy"] = entropy.iloc[0]
    wide["selected_fraction"] = run.steps()["selected_fraction"].mean()
    return wide.reset_index()


def _times(job: Job) -> pd.DataFrame:
    """Seconds from the first recorded step of a job to its last, given to its first run."""
    at = pd.concat([open_run(job.folder / method.label).steps()["recorded_at"] for method in job.methods()])
    seconds = (at.max() - at.min()).total_seconds()
    return _tagged(pd.DataFrame({"seconds": [seconds]}), job, job.arm)


def _starts(done: list[Job]) -> Iterator[pd.DataFrame]:
    for regime, warm_up in sorted({(job.regime, job.warm_up) for job in done}):
        if start_path(STARTS, REGIMES[regime].settings(warm_up, 0).start).exists():
            yield score_start(REGIMES[regime], warm_up).assign(regime=regime, warm_up=warm_up)


if __name__ == "__main__":
    collect()
