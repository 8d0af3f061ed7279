"""Train the runs of the study: always on and released at once, scored on the test split at the end.

python docs/study/runner.py --jobs 2              # all that is missing
python docs/study/runner.py --regime A --warm-up 11 --seed 0
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass, replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
from arms import (
    BASELINE,
    LAW_REGIMES,
    LAW_SEEDS,
    LAW_WARM_UPS,
    METHOD_REGIMES,
    REGIMES,
    SEEDS,
    WARM_UPS,
    Regime,
)
from stored import stored_runs

from entropylab.lab.evaluation import Evaluation
from entropylab.lab.experiment import one_thread
from entropylab.lab.learner import Learner, make_learner
from entropylab.lab.model import PolicyModel
from entropylab.lab.recording import record_event
from entropylab.lab.run_folder import claim_folder, run_config
from entropylab.lab.scores import score_problems
from entropylab.lab.settings import LabMethod, LabSettings
from entropylab.lab.tasks import task_named
from entropylab.lab.training import StepResult, train
from entropylab.lab.warmup import load_start
from entropylab.record.compaction import compact_run
from entropylab.record.recorder import Recorder
from entropylab.record.token_sampling import TokenSampling

RUNS = Path("runs/study")
STARTS = Path("build/warm-starts")
SAMPLES = 32
SCORE_SEED = 2026
"""One stream for the scores of all policies, so that differences between them are paired."""

Event = StepResult | Evaluation


@dataclass(frozen=True)
class Job:
    """One arm of a regime from one warm-up with one RL seed: one run, or two where it has a control."""

    regime: str
    arm: str
    warm_up: int
    seed: int

    @property
    def folder(self) -> Path:
        """Where the runs of all arms that are compared with this one lie."""
        return RUNS / self.regime / f"w{self.warm_up}-s{self.seed}"

    def methods(self) -> tuple[LabMethod, ...]:
        """The arm always on, and released after the cool-down begins."""
        regime = REGIMES[self.regime]
        arm = regime.arm(self.arm)
        if arm.control is None:
            return (arm,)
        released = replace(arm, label=f"{arm.label}-released", release_step=regime.release_step)
        return (arm, released)

    @property
    def is_done(self) -> bool:
        """Whether the scores of all its runs are there."""
        return all(scores_path(self.folder, method).exists() for method in self.methods())

    def is_in(self, stored: set[tuple[str, int, int, str]]) -> bool:
        """Whether all its runs are among those that are stored."""
        return {(self.regime, self.warm_up, self.seed, m.label) for m in self.methods()} <= stored


def scores_path(folder: Path, method: LabMethod) -> Path:
    """The scores of a finished run, beside its folder."""
    return folder / f"{method.label}-scores.parquet"


def make(job: Job) -> str:
    """Train the runs of a job; how it went."""
    began = time.monotonic()
    settings = REGIMES[job.regime].settings(job.warm_up, job.seed)
    methods = job.methods()
    for method in methods:
        claim_folder(job.folder / method.label, run_config(method, settings), overwrite=True)
    with one_thread(), ExitStack() as stack:
        recorders = [stack.enter_context(_recorder(job.folder, method, settings)) for method in methods]
        model = load_start(STARTS, settings.start)
        for method, policy in _trained(model, methods, recorders, settings):
            _score(job.folder, method, policy, settings)
    for method in methods:
        compact_run(job.folder / method.label)
    return f"{time.monotonic() - began:.0f} s"


def _trained(
    model: PolicyModel,
    methods: tuple[LabMethod, ...],
    recorders: list[Recorder],
    settings: LabSettings,
) -> Iterator[tuple[LabMethod, PolicyModel]]:
    """The policies at the end; what both runs share is trained once and written twice."""
    learner = make_learner(model, methods[0], settings)
    events = train(model, methods[0], settings, learner=learner)
    if len(methods) == 1:
        _record(events, recorders, settings)
        yield methods[0], model
        return
    branch = methods[1].release_step or 0
    _record(_until(events, branch), recorders, settings)
    fork: Learner = copy.deepcopy(learner)
    _record(events, recorders[:1], settings)
    yield methods[0], model
    _record(train(fork.model, methods[1], settings, learner=fork, first=branch), recorders[1:], settings)
    yield methods[1], fork.model


def _until(events: Iterator[Event], step: int) -> Iterator[Event]:
    """The events up to the end of the rollout before ``step``."""
    for event in events:
        yield event
        if isinstance(event, StepResult) and event.step == step - 1:
            return


def _record(events: Iterable[Event], recorders: list[Recorder], settings: LabSettings) -> None:
    task = task_named(settings.start.task)
    for event in events:
        for recorder in recorders:
            record_event(recorder, event, texts=False, task=task)


def _recorder(folder: Path, method: LabMethod, settings: LabSettings) -> Recorder:
    sampling = TokenSampling(every_steps=settings.token_every)
    config = run_config(method, settings)
    return Recorder(folder / method.label, config=config, method=method.label, token_sampling=sampling)


def _score(folder: Path, method: LabMethod, policy: PolicyModel, settings: LabSettings) -> None:
    task = task_named(settings.start.task)
    ids = task.problem_ids("test")
    scores = score_problems(policy, ids, samples=SAMPLES, seed=SCORE_SEED, task=task)
    scores.to_parquet(scores_path(folder, method), index=False)


def score_start(regime: Regime, warm_up: int) -> pd.DataFrame:
    """The scores of the policy that a regime starts from."""
    settings = regime.settings(warm_up, 0)
    task = task_named(settings.start.task)
    with one_thread():
        model = load_start(STARTS, settings.start)
        return score_problems(model, task.problem_ids("test"), samples=SAMPLES, seed=SCORE_SEED, task=task)


def method_jobs() -> list[Job]:
    """Seed by seed and warm-up by warm-up, so that whatever is finished can be compared."""
    return [
        Job(regime.name, arm.label, warm_up, seed)
        for seed, warm_up, regime in product(SEEDS, WARM_UPS, METHOD_REGIMES)
        for arm in regime.arms
    ]


def law_jobs() -> list[Job]:
    """The baseline of every size, warm-up by warm-up."""
    return [
        Job(regime.name, BASELINE, warm_up, seed)
        for seed, warm_up, regime in product(LAW_SEEDS, LAW_WARM_UPS, LAW_REGIMES)
    ]


JOBS = {"methods": method_jobs, "law": law_jobs}
"""The runs behind each table."""


def run_missing(table: str, jobs: int, only: Callable[[Job], bool] = lambda job: True) -> None:
    """Train the runs behind a table that are neither finished nor stored, so many at a time."""
    stored = stored_runs()
    missing = [job for job in JOBS[table]() if only(job) and not (job.is_done or job.is_in(stored))]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        tasks = {pool.submit(make, job): job for job in missing}
        for number, task in enumerate(as_completed(tasks), start=1):
            job = tasks[task]
            print(f"{number}/{len(missing)}  {job.folder}/{job.arm}  {task.result()}", flush=True)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", choices=list(JOBS))
    parser.add_argument("--arm", nargs="*", help="labels of arms; all where left out")
    parser.add_argument("--regime", nargs="*", choices=list(REGIMES))
    parser.add_argument("--warm-up", nargs="*", type=int)
    parser.add_argument("--seed", nargs="*", type=int)
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, one thread each")
    given = parser.parse_args()
    wanted = {"arm": given.arm, "regime": given.regime, "warm_up": given.warm_up, "seed": given.seed}

    def only(job: Job) -> bool:
        return all(values is None or getattr(job, name) in values for name, values in wanted.items())

    run_missing(given.table, given.jobs, only)


if __name__ == "__main__":
    main()
