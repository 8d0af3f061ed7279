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

import numpy as np
import pytest

import entropylab as el

from .conftest import APP, CHARTS, VIEWS

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
PATIENCE = 60

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def address(runs: Path, influence_runs: Path) -> Iterator[str]:
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
    environment = {**os.environ, "ENTROPYLAB_PATHS": os.pathsep.join(map(str, (runs, influence_runs)))}
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


class Visit:
    """One page in the browser, and what it asked for or complained of that it should not have."""

    def __init__(self, browser: Any, width: int) -> None:
        scheme = "dark" if width == 420 else "light"
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.page = self.context.new_page()
        self.page.set_default_timeout(1000 * PATIENCE)
        self.faults: list[str] = []
        self.page.on("request", self._asked)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.faults.append(str(error)))

    def _asked(self, request: Any) -> None:
        if not request.url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:", "blob:")):
            self.faults.append(f"asked for {request.url}")

    def _said(self, message: Any) -> None:
        """Streamlit looks for its server below the page's own path first, which is a 404 by design."""
        at = message.location.get("url", "")
        if message.type == "error" and "/_stcore/" not in at:
            self.faults.append(f"{message.text} at {at}")

    def settle(self, charts: int) -> None:
        """Wait until the script has ended and the charts are drawn."""
        self.page.get_by_text("How to read this").wait_for()
        self.page.wait_for_selector('[data-testid="stApp"][data-test-script-state="notRunning"]')
        self.page.wait_for_function(
            "n => [...document.querySelectorAll('.js-plotly-plot')]"
            ".filter(plot => plot.querySelector('.main-svg')).length >= n",
            arg=charts,
        )

    @property
    def sentence(self) -> str:
        return self.page.locator(".el-say").first.inner_text().strip()

    def sound(self) -> None:
        """No error box, nothing fetched from outside, no complaint in the console."""
        assert self.page.locator('[data-testid="stException"]').count() == 0
        assert self.faults == []


@pytest.fixture
def visit(browser) -> Iterator[Any]:
    visits: list[Visit] = []

    def go(url: str, charts: int, width: int = 1400) -> Visit:
        made = Visit(browser, width)
        visits.append(made)
        made.page.goto(url)
        made.settle(charts)
        return made

    yield go
    for made in visits:
        made.context.close()


def place(view: str) -> str:
    return "" if view == "overview" else view


WIDE = ("overview", "law", "selection", "dynamics", "tokens")
"""Pages that the quick tests open at a wide window; the others they open at a narrow one."""


@pytest.mark.quick(*(f"{view}-{1400 if view in WIDE else 420}" for view in VIEWS))
@pytest.mark.parametrize("width", [1400, 420])
@pytest.mark.parametrize("view", VIEWS)
def test_a_page_in_the_browser(visit, address, view, width) -> None:
    seen = visit(f"{address}/{place(view)}", CHARTS[view], width)
    assert seen.page.locator('[data-testid="stAlert"]').count() == 0
    assert seen.page.locator(".js-plotly-plot").count() == CHARTS[view]
    assert seen.sentence
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    sidebar = seen.page.locator('[data-testid="stSidebar"]').bounding_box()
    assert (sidebar["x"] >= 0) == (width == 1400)
    seen.sound()


@pytest.mark.quick("420")
@pytest.mark.parametrize("width", [1400, 420])
def test_the_audit_of_runs_with_influence(visit, address, width) -> None:
    seen = visit(f"{address}/influence?runs=baseline&runs=clip_cov", 5, width)
    assert seen.sentence.startswith("clip_cov: The covariance ranks")
    assert seen.page.locator(".js-plotly-plot").count() == 5
    assert seen.page.evaluate("document.documentElement.scrollWidth") <= width
    seen.page.get_by_text("raise H most").click()
    seen.settle(5)
    assert "influence_end=raise+H+most" in seen.page.url.replace("%20", "+")
    seen.page.get_by_text("Open the responses of step").click()
    seen.page.wait_for_selector(".el-text")
    seen.settle(0)
    assert "influence, nats" in seen.page.locator(".el-key").inner_text()
    seen.sound()


def test_what_if_follows_its_controls_and_its_link_repeats_it(visit, address) -> None:
    seen = visit(f"{address}/what_if?what_if=clip_cov", 3)
    before = seen.sentence
    seen.page.get_by_text("the highest", exact=True).click()
    seen.page.wait_for_function(
        "old => document.querySelector('.el-say').innerText.trim() !== old", arg=before
    )
    seen.settle(3)
    after = seen.sentence
    assert 'select="top"' in seen.page.locator("code").first.inner_text().replace("'", '"')
    again = visit(seen.page.url, 3)
    assert again.sentence == after
    seen.sound()


def test_a_response_is_coloured_and_its_group_beside_it(visit, address) -> None:
    seen = visit(f"{address}/tokens?color=entropy", 0)
    seen.page.wait_for_selector(".el-member.el-here")
    assert seen.page.locator(".el-text b").count() > 1
    assert "nats" in seen.page.locator(".el-text b").first.get_attribute("title")
    assert seen.page.locator(".el-member.el-here").count() == 1
    seen.page.get_by_text("quadrant", exact=True).click()
    seen.settle(0)
    assert "gather=quadrant" in seen.page.url
    seen.sound()


def test_runs_in_the_link_are_the_runs_of_the_page(visit, address) -> None:
    seen = visit(f"{address}/?runs=start-a%2Fclip_cov-s1", 6)
    assert seen.sentence.startswith("clip_cov-s1")
    seen.page.get_by_role("link", name="Law", exact=True).click()
    seen.page.wait_for_selector("text=Fit on the first evaluations")
    seen.settle(1)
    assert seen.sentence.startswith("clip_cov-s1")
    seen.sound()


def test_a_chart_is_downloaded_as_csv(visit, address) -> None:
    seen = visit(f"{address}/curves", 3)
    with seen.page.expect_download() as waiting:
        seen.page.get_by_text("CSV").first.click()
    head, *rows = Path(waiting.value.path()).read_text().splitlines()
    assert {"step", "tokens", "value", "run"} <= set(head.split(","))
    assert len(rows) > 14


def record(recorder: el.Recorder, step: int) -> None:
    rng = np.random.default_rng(step)
    inputs = {"logprobs": -rng.exponential(size=(4, 5)), "advantages": rng.normal(size=4)}
    recorder.record(step, **inputs, mask=np.ones((4, 5), bool), entropy=rng.random((4, 5)))


def test_a_chart_links_to_what_the_guide_says_of_it(visit, address) -> None:
    seen = visit(f"{address}/dynamics", 3)
    with seen.context.expect_page() as opened:
        seen.page.get_by_role("link", name="Guide").first.click()
    there = opened.value
    there.get_by_role("heading", name="Dynamics").wait_for()
    there.wait_for_function("document.querySelector('#dynamics').getBoundingClientRect().top < 700")
    seen.sound()


def test_a_run_under_way_is_followed(visit, address, runs) -> None:
    with el.Recorder(runs / "growing", method="baseline") as recorder:
        for step in range(3):
            record(recorder, step)
        recorder.flush()
        seen = visit(f"{address}/?runs=growing&live=true", 3)
        while not seen.sentence.startswith("growing"):  # the list of runs is made every 10 seconds
            seen.page.wait_for_timeout(2000)
            seen.page.goto(f"{address}/?runs=growing&live=true")
            seen.settle(3)
        assert "at step 2" in seen.sentence
        for step in range(3, 6):
            record(recorder, step)
        recorder.flush()
        seen.page.wait_for_function("document.querySelector('.el-say').innerText.includes('step 5')")
    seen.sound()


def test_a_click_on_a_curve_opens_the_tokens_of_its_step(visit, address) -> None:
    seen = visit(f"{address}/curves?log=true", 3)
    box = seen.page.locator(".js-plotly-plot .nsewdrag").first.bounding_box()
    seen.page.mouse.move(box["x"] + box["width"] / 2 - 5, box["y"] + box["height"] / 2)
    seen.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=4)
    seen.page.wait_for_timeout(300)
    seen.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    link = seen.page.get_by_text("Open the tokens of step")
    link.wait_for()
    step = int(link.inner_text().split()[-1])
    link.click()
    seen.page.wait_for_selector(".el-text")
    seen.settle(0)
    assert f"step {step}:" in seen.sentence
    seen.sound()
