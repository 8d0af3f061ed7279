"""Seconds until the dashboard's pages are drawn in a real browser: 5 runs of 2,000 steps, 6 panels.

    python benchmarks/bench_dashboard.py            # needs playwright and /usr/bin/chromium

First page: of a server that has just started, with the caches that a reader leaves in the run folders.
Then from page to page in one session, the first time and once more. Drawn: the script has ended and every
chart is on the page.
"""

from __future__ import annotations

import os
import resource
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from measure import keep

import entropylab as el
from entropylab.cli.dashboard import PATHS_VARIABLE, streamlit_command

RUNS, STEPS, ROUNDS = 5, 2000, 3
APP = Path(__file__).parents[1] / "app" / "main.py"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"]
PAGES = {"Curves": 3, "Law": 1, "Compare": 4, "Dynamics": 3, "Overview": 6}
"""Pages that read summaries alone, and the charts that each has at least."""


def write_runs(folder: Path) -> None:
    """Runs of 2,000 steps of few tokens, evaluated every 10th step, compacted."""
    rng = np.random.default_rng(0)
    mask = np.ones((4, 4), dtype=bool)
    for number in range(RUNS):
        method = "baseline" if number < 3 else "clip_cov"
        with el.Recorder(
            folder / f"{method}-s{number}", method=method, config={"seed": number % 3}
        ) as recorder:
            for step in range(STEPS):
                h = 0.05 + 0.5 * np.exp(-step / 300) + 0.01 * rng.normal()
                columns = {"logprobs": -rng.random((4, 4)), "advantages": rng.normal(size=4), "mask": mask}
                recorder.record(step, None, **columns, entropy=np.full((4, 4), h))
                if step % 10 == 0:
                    for metric in ("accuracy", "accuracy_greedy", "pass@8"):
                        value = float(0.6 - 0.2 * np.exp(h) + 0.005 * rng.normal())
                        recorder.evaluate(step, metric=metric, value=value, n=500)
        subprocess.run([sys.executable, "-m", "entropylab", "compact", str(folder / f"{method}-s{number}")])


@contextmanager
def server(root: Path, app: Path = APP) -> Iterator[tuple[str, subprocess.Popen]]:
    """The app on a free port, ready to answer."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = streamlit_command(app, port=port, headless=True, address="127.0.0.1")
    environment = {**os.environ, PATHS_VARIABLE: str(root)}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}", process
    finally:
        process.terminate()
        process.wait()


def drawn(page: Any, charts: int) -> None:
    """Wait until the script has ended and its charts are there."""
    page.get_by_text("How to read this").wait_for()
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot .main-svg').length >= {charts}")


def switch(page: Any, name: str, charts: int) -> None:
    """Follow the link to another page and wait for it."""
    page.get_by_role("link", name=name, exact=True).click()
    page.wait_for_timeout(50)
    drawn(page, charts)


def timed(action: Any) -> float:
    """Seconds."""
    start = time.perf_counter()
    action()
    return time.perf_counter() - start


BARE = """
import plotly.graph_objects as go
import streamlit as st
for i in range(6):
    st.plotly_chart(go.Figure(go.Scatter(y=list(range(1000)))), key=str(i), theme=None)
st.expander("How to read this")
"""
"""The floor: six lines of 1,000 points and nothing else."""


def bare_session(browser: Any, folder: Path) -> dict[str, float]:
    """The first page of a bare Streamlit app of six charts, and that of a second reader."""
    app = folder / "bare.py"
    app.write_text(BARE)
    found = {}
    with server(folder, app) as (address, _):
        for name in ("bare first page", "bare first page of a second reader"):
            page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
            page.set_default_timeout(120_000)
            found[name] = timed(lambda page=page: (page.goto(address), drawn(page, 6)))
    return found


def session(browser: Any, root: Path) -> dict[str, float]:
    """One server, one reader: the first page, every page once, and again; then a second reader."""
    with server(root) as (address, process):
        page = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        page.set_default_timeout(120_000)
        found = {"first page": timed(lambda: (page.goto(address), drawn(page, PAGES["Overview"])))}
        for again in ("", " again"):
            for name, charts in PAGES.items():
                found[name + again] = timed(partial(switch, page, name, charts))
        second = browser.new_context(viewport={"width": 1400, "height": 900}).new_page()
        second.set_default_timeout(120_000)
        found["first page of a second reader"] = timed(lambda: (second.goto(address), drawn(second, 6)))
        status = Path(f"/proc/{process.pid}/status").read_text()
        found["server MiB"] = next(
            int(x.split()[1]) / 1024 for x in status.splitlines() if x.startswith("VmHWM")
        )
        return found


def main() -> None:
    """Write the runs, read them once, then time sessions."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        root = Path(folder) / "runs"
        write_runs(root)
        for run in el.open_runs(root):
            run.steps(), run.problems(rows=False)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        rounds = [session(browser, root) | bare_session(browser, Path(folder)) for _ in range(ROUNDS)]
        browser.close()
    figures: dict[str, object] = {
        name: round(statistics.median(one[name] for one in rounds), 2) for name in rounds[0]
    }
    figures |= {
        "runs": RUNS,
        "steps": STEPS,
        "own MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
    }
    keep("dashboard", figures)


if __name__ == "__main__":
    main()
