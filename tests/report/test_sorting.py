"""Tables of the page sort on a click or a key; the script is inline and a browser runs no other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from entropylab.report.page import page as whole_page, table

CHROMIUM = Path("/usr/bin/chromium")
ROWS = [
    ("b", "1,200", "0.10\n0.05 to 0.2", "0.50 to 0.60"),
    ("a10", "-3", "–", "withheld"),
    ("a9", "70", "-0.2", "0.07 to 0.80"),
]


def test_the_script_is_inline_and_names_nothing_outside(page):
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert script == resources.files("entropylab.report").joinpath("sort.js").read_text(encoding="utf-8")
    for word in ("aria-sort", 'createElement("button")', "addEventListener"):
        assert word in script
    for word in ("http", "//www", "fetch(", "import ", "eval(", "innerHTML", "XMLHttpRequest"):
        assert word not in script
    assert page.count("<table") == page.count("<thead>") > 3


@pytest.fixture(scope="module")
def shown(tmp_path_factory) -> Iterator[Any]:
    """A page in the browser with one table, and with a script that is not the page's own."""
    sync = pytest.importorskip("playwright.sync_api")
    path = tmp_path_factory.mktemp("page") / "page.html"
    foreign = "<script>document.title = 'foreign'</script><img src=x onerror=\"document.title = 'foreign'\">"
    body = [foreign, table(["run", "points", "a", "interval"], ROWS), table(["one"], [["row"]])]
    path.write_text(whole_page("own", body), encoding="utf-8")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(CHROMIUM), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        tab = browser.new_page()
        tab.set_default_timeout(10_000)
        tab.goto(path.as_uri())
        yield tab
        browser.close()


def order(shown: Any) -> list[str]:
    return shown.locator("table").first.locator("tbody td:first-child").all_inner_texts()


BROWSER = [
    pytest.mark.browser,
    pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium: apt-get install chromium"),
]


@pytest.mark.parametrize(
    ("column", "ascending", "descending"),
    [
        ("run", ["a9", "a10", "b"], ["b", "a10", "a9"]),
        ("points", ["a10", "a9", "b"], ["b", "a9", "a10"]),
        ("a", ["a9", "b", "a10"], ["b", "a9", "a10"]),
        ("interval", ["a9", "b", "a10"], ["b", "a9", "a10"]),
    ],
    ids=["run", "points", "a", "interval"],
)
class TestInABrowser:
    pytestmark = BROWSER

    def test_clicks_sort_up_then_down_then_back(self, shown, column, ascending, descending):
        head = shown.get_by_role("columnheader", name=column, exact=True)
        written = [row[0] for row in ROWS]
        for state, wanted in (("ascending", ascending), ("descending", descending), ("none", written)):
            head.get_by_role("button").click()
            assert (head.get_attribute("aria-sort"), order(shown)) == (state, wanted)

    def test_keys_reach_every_header(self, shown, column, ascending, descending):
        shown.locator("body").focus()
        for _ in range(5):
            shown.keyboard.press("Tab")
            if shown.evaluate("document.activeElement.textContent") == column:
                break
        shown.keyboard.press("Enter")
        assert order(shown) == ascending
        shown.keyboard.press("Space")
        assert order(shown) == descending
        shown.keyboard.press("Space")


@pytest.mark.browser
@pytest.mark.skipif(not CHROMIUM.exists(), reason="needs /usr/bin/chromium: apt-get install chromium")
def test_a_foreign_script_does_not_run_and_one_row_is_not_sorted(shown):
    assert shown.title() == "own"
    assert shown.locator("table").nth(1).get_by_role("button").count() == 0
