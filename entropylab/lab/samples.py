"""The sample logs: real runs of the lab, made by ``python -m entropylab.lab.samples --out sample_logs``."""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

from rich.console import Console

from ..record.compaction import compact_run
from .experiment import RunPlan, make_run, one_thread
from .settings import INFLUENCE, RARE_X, SAMPLE_A, Preset

SEEDS: tuple[tuple[Preset, tuple[int, ...]], ...] = ((RARE_X, (1,)), (SAMPLE_A, (0, 1, 2)), (INFLUENCE, (0,)))
WARM_STARTS = Path("build/warm-starts")


def sample_plans(out: Path) -> list[RunPlan]:
    """Every run of the sample logs, the long ones first: ``out/<preset>/<method>-s<seed>``."""
    return [
        RunPlan(
            out / preset.name / f"{method.label}-s{seed}", method, preset.with_settings(seed=seed).settings
        )
        for preset, seeds in SEEDS
        for seed in seeds
        for method in preset.methods
    ]


def make_sample_logs(
    out: str | os.PathLike[str],
    *,
    cache: str | os.PathLike[str] = WARM_STARTS,
    jobs: int = 1,
    overwrite: bool = False,
) -> list[Path]:
    """Make the sample logs in ``jobs`` processes of one thread each; the folders of the runs.

    Finished runs are kept, unfinished ones made again; ``overwrite`` makes all again. The warm starts lie in
    ``cache``.
    """
    plans, console = sample_plans(Path(out)), Console(stderr=True)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        tasks = {pool.submit(make_compact_run, plan, Path(cache), overwrite): plan for plan in plans}
        for number, task in enumerate(as_completed(tasks), start=1):
            console.print(f"{number}/{len(plans)}  {tasks[task].folder}  {task.result()}")
    return [plan.folder for plan in plans]


def make_compact_run(plan: RunPlan, cache: Path, overwrite: bool = False) -> str:
    """Make one run with few files, in a process of its own; how it went."""
    began = time.monotonic()
    with one_thread():
        made = make_run(plan, cache, overwrite=overwrite)
    compact_run(plan.folder)
    return f"made in {time.monotonic() - began:.0f} s" if made else "already there"


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m entropylab.lab.samples", description="Make the sample logs."
    )
    parser.add_argument("--out", type=Path, default=Path("sample_logs"), help="folder of the runs")
    parser.add_argument("--cache", type=Path, default=WARM_STARTS, help="folder of the warm starts")
    parser.add_argument("--jobs", type=int, default=1, help="runs at the same time, one thread each")
    parser.add_argument("--overwrite", action="store_true", help="make finished runs again")
    arguments = parser.parse_args()
    make_sample_logs(arguments.out, cache=arguments.cache, jobs=arguments.jobs, overwrite=arguments.overwrite)


if __name__ == "__main__":
    main()
