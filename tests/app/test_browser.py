"""The dashboard in a real browser, wide and narrow: charts are drawn, nothing raised, nothing overflows."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .conftest import APP, VIEWS

CHROMIUM = Path("/usr/bin/chromium")
BROWSER = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
SERVER = {
    "server.headless": "true",
    "server.address": "127.0.0.1",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
}
DRAWN = {
    "overview": 6,
    "curves": 3,
    "law": 1,
    "tails": 5,
    "selection": 3,
    "what_if": 3,
    "dynamics": 3,
    "tokens": 0,
    "compare": 7,
    "data": 0,
}
PATIENCE = 60

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def address(runs: Path) -> Iterator[str]:
    """The app served on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    flags = [part for key, value in SERVER.items() for part in (f"--{key}", value)]
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        str(APP / "main.py"),
        *flags,
        "--server.port",
        str(port),
    ]
    environment = {**os.environ, "ENTROPYLAB_PATHS": str(runs)}
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(f"http://127.0.0.1:{port}/_stcore/health")
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait()


def wait_for(url: str) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        try:
            with urllib.request.urlopen(url, timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise TimeoutError(f"{url} did not answer within {PATIENCE} s")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    sync = pytest.importorskip("playwright.sync_api")
    with sync.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=str(CHROMIUM), args=BROWSER)
        yield chromium
        chromium.close()


@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("view", VIEWS)
def test_a_page_in_the_browser(browser, address, view, width) -> None:
    scheme = "dark" if width == 420 else "light"
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    page.set_default_timeout(1000 * PATIENCE)
    page.goto(f"{address}/{'' if view == 'overview' else view}")
    page.get_by_text("How to read this").wait_for()
    page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
    page.wait_for_function(f"document.querySelectorAll('.js-plotly-plot .main-svg').length >= {DRAWN[view]}")
    assert page.locator('[data-testid="stException"]').count() == 0
    assert page.locator('[data-testid="stAlert"]').count() == 0
    assert page.locator(".js-plotly-plot").count() == DRAWN[view]
    assert page.locator(".el-say").inner_text().strip()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    sidebar = page.locator('[data-testid="stSidebar"]').bounding_box()
    assert (sidebar["x"] >= 0) == (width == 1400)
    context.close()
