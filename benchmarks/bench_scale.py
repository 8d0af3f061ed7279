"""Exact summaries of 100 million token rows in 200 steps, beside the floor and two query engines.

    python benchmarks/bench_scale.py --folder /tmp/scale            # 100M rows, about 2 GB
    python benchmarks/bench_scale.py --folder /tmp/scale --billion  # 1e9 rows too, about 16 GB

The rows are written by the recorder, shaped as GRPO's: 8 responses of 1,000 tokens a prompt, one advantage
a response. Each way runs in a process of its own, on files in the page cache; its memory is the highest sum
of the resident sets of its processes. CPU seconds leave out Ray's workers. The folder is deleted after.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import psutil
from measure import keep

import entropylab as el

ROWS_PER_STEP, LENGTH = 500_000, 1000
WORKER = Path(__file__).with_name("scale_worker.py")
WAYS = ["bare floor", "floor", "duckdb", "polars", "ours, 1 worker", "ours, known", "ours, 2 workers"]
WAYS += ["scan, 1 worker", "ray, 1 worker", "ray, 2 workers"]
FRESH = ("ours, 1 worker", "ours, 2 workers", "ray, 1 worker", "ray, 2 workers")


def make_run(folder: Path, steps: int, rows_per_step: int = ROWS_PER_STEP) -> el.Run:
    rng = np.random.default_rng(0)
    shape = (rows_per_step // LENGTH, LENGTH)
    mask = np.ones(shape, bool)
    surprisal = rng.exponential(0.5, shape).astype(np.float32)
    drift = rng.normal(0, 0.02, shape).astype(np.float32)
    ids = np.arange(shape[0])
    with el.Recorder(folder) as recorder:
        for step in range(steps):
            logprobs = -np.roll(surprisal, 7919 * step) * np.float32(1 - 0.9 * step / steps)
            advantages = rng.normal(size=shape[0]).astype(np.float32)
            centred = advantages - advantages.mean()
            covariance = (logprobs - logprobs.mean(dtype=np.float64)).astype(np.float32) * centred[:, None]
            bar = np.partition(covariance.ravel(), -100)[-100]
            out = SimpleNamespace(tokens={"covariance": covariance, "selected": covariance >= bar})
            recorder.record(
                step,
                out,
                logprobs=logprobs,
                old_logprobs=logprobs + drift,
                advantages=advantages,
                mask=mask,
                entropy=np.roll(surprisal, 13 * step),
                rewards=(advantages > 0).astype(np.float32),
                prompt_ids=ids // 8,
                sample_ids=ids + step * len(ids),
            )
            recorder.end_step(step)
            if step % 10 == 0:
                for metric in ("accuracy", "accuracy_greedy", "pass@8"):
                    recorder.evaluate(step, metric=metric, value=0.3 + 0.3 * step / steps, n=500)
    return el.open_run(folder)


def measured(way: str, run: Path) -> dict[str, float]:
    if way in FRESH:
        shutil.rmtree(run / "cache", ignore_errors=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "RAY_worker_niceness": "0"}
    command = [sys.executable, str(WORKER), way, str(run)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        peak = 0
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            time.sleep(0.02)
        assert process.stdout is not None
        found = json.loads(process.stdout.read().splitlines()[-1]) | {"peak_mib": peak >> 20}
    print(way, found, flush=True)
    return found


def resident(pid: int) -> int:
    """Bytes that a process and its children hold now."""
    total = 0
    with contextlib.suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for one in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                total += one.memory_info().rss
    return total


def all_ways(run: Path, ways: list[str]) -> dict[str, dict[str, float]]:
    measured("bare floor", run)  # brings the files into the page cache
    return {way: measured(way, run) for way in ways}


def open_page(page: Any, address: str, charts: int) -> None:
    from bench_dashboard import drawn

    page.goto(address)
    drawn(page, charts)


def opened(folder: Path) -> dict[str, float]:
    """Seconds until a new dashboard's first page is drawn, beside a bare Streamlit page of six charts."""
    from bench_dashboard import CHROMIUM, FLAGS, PAGES, bare_session, server, timed
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        found: dict[str, float] = {}
        for name in ("dashboard, first", "dashboard, from the cache"):
            with server(folder) as (address, _):
                page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
                page.set_default_timeout(120_000)
                found[name] = timed(partial(open_page, page, address, PAGES["Overview"]))
        with tempfile.TemporaryDirectory() as other:
            found["bare page"] = bare_session(browser, Path(other))["bare first page"]
        browser.close()
    return {name: round(seconds, 2) for name, seconds in found.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--billion", action="store_true")
    parser.add_argument("--dashboard", action="store_true", help="needs playwright and /usr/bin/chromium")
    given = parser.parse_args()
    main_part = f"{given.steps * ROWS_PER_STEP:,} rows"
    parts = {main_part: (given.steps, ROWS_PER_STEP, WAYS)}
    parts["24,000,000 rows in 3 steps"] = (3, 8_000_000, ["ours, 1 worker"])
    if given.billion:
        parts["1,000,000,000 rows"] = (2000, ROWS_PER_STEP, ["ours, 2 workers", "ours, known"])
    results: dict[str, dict[str, Any]] = {}
    for name, (steps, rows_per_step, ways) in parts.items():
        folder = given.folder / f"steps-{steps}"
        make_run(folder, steps, rows_per_step)
        size = sum(f.stat().st_size for f in folder.glob("tokens/**/*.parquet"))
        bytes_per_row = round(size / steps / rows_per_step, 2)
        results[name] = {"bytes_per_row": bytes_per_row, **all_ways(folder, ways)}
        if name == main_part and given.dashboard:
            shutil.rmtree(folder / "cache", ignore_errors=True)
            results["dashboard"] = opened(folder)
        shutil.rmtree(folder)
    keep("scale", {"cores": os.cpu_count()} | results | {"ratios": _ratios(results[main_part])})


def _ratios(found: dict[str, dict[str, float]]) -> dict[str, float]:
    def over(way: str, other: str, figure: str) -> float:
        return round(found[way][figure] / found[other][figure], 3)

    return {
        "ours over floor, cpu": over("ours, 1 worker", "floor", "cpu_seconds"),
        "ours over floor, wall": over("ours, 2 workers", "floor", "seconds"),
        "known over first, wall": over("ours, known", "ours, 1 worker", "seconds"),
        "efficiency of 2 workers": round(over("ours, 1 worker", "ours, 2 workers", "seconds") / 2, 3),
        "efficiency of 2 Ray workers": round(over("ray, 1 worker", "ray, 2 workers", "seconds") / 2, 3),
    }


if __name__ == "__main__":
    main()
