"""Photograph the dashboard on the sample logs for docs/dashboard.md: ``python docs/screenshots.py``.

Needs playwright and /usr/bin/chromium.
"""

from __future__ import annotations

import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from entropylab.cli.dashboard import PATHS_VARIABLE, find_app, streamlit_command

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
CHROMIUM = "/usr/bin/chromium"
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"]
WIDTH = 1240
SHOTS = {"overview": ("", 900, 6), "what-if": ("what_if", 760, 3), "tokens": ("tokens?step=100", 980, 0)}
"""Name of the picture -> what follows the address, height in pixels, charts on the page."""


@contextmanager
def served() -> Iterator[str]:
    """The app on the sample logs, on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = streamlit_command(find_app(), port=port, headless=True, address="127.0.0.1")
    environment = {**os.environ, PATHS_VARIABLE: "sample_logs", "OMP_NUM_THREADS": "1"}
    silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, env=environment, cwd=ROOT, **silent)
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=2)
                break
            except (urllib.error.URLError, OSError):
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Write every picture."""
    from playwright.sync_api import sync_playwright

    with served() as address, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        for name, (where, height, charts) in SHOTS.items():
            page = browser.new_page(viewport={"width": WIDTH, "height": height})
            page.goto(f"{address}/{where}")
            page.get_by_text("How to read this").wait_for(timeout=120_000)
            page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
            drawn = f"document.querySelectorAll('.js-plotly-plot .main-svg').length >= {charts}"
            page.wait_for_function(drawn)
            page.wait_for_timeout(500)
            page.screenshot(path=PICTURES / f"dashboard-{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
