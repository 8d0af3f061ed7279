"""Text from models and foreign files is shown as text; what a link says cannot leave the data roots."""

from __future__ import annotations

import numpy as np
import pytest
import token_text

import entropylab as el

from .conftest import VIEWS

EVIL = "<script>alert(1)</script>"
LINK = "[x](javascript:alert(1))"
ESCAPES = "\x1b[31mred\x1b[0m"
VOCABULARY = [EVIL, LINK, ESCAPES, "‮backwards", "plain", "$\\frac{1}{2}$"]


@pytest.fixture
def evil(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "root" / "<img src=x onerror=alert(1)>"
    config = {"vocabulary": VOCABULARY, "note": EVIL, LINK: "x" * 1_000_000, "seed": 0}
    with el.Recorder(folder, method=f"{EVIL}{LINK}", config=config) as recorder:
        for step in range(4):
            recorder.record(
                step,
                logprobs=-rng.exponential(size=(8, 6)),
                advantages=rng.normal(size=8),
                mask=np.ones((8, 6), bool),
                entropy=rng.random((8, 6)),
                token_ids=rng.integers(0, len(VOCABULARY), (8, 6)),
                rewards=rng.random(8),
                prompt_ids=np.arange(8) // 4,
                texts=[EVIL + LINK + ESCAPES, "y" * 1_000_000, *["plain"] * 6],
            )
            recorder.evaluate(step, metric=f"{EVIL[:30]}", value=0.5, n=10)
    return tmp_path / "root"


def test_no_page_holds_what_a_browser_would_run(open_app, evil) -> None:
    page = open_app(evil)
    for view in VIEWS:
        page.go(view)
        assert page.exceptions == [], view
        assert "<script>" not in page.html, view
        assert "<img src=x" not in page.html, view
        for element in (*page.test.markdown, *page.test.caption, *page.test.info):
            assert "<script>" not in element.value.replace("\\<script\\>", ""), view
            assert "[x](javascript" not in element.value, view
        for box in page.test.checkbox:
            assert "<img" not in box.label.replace("\\<img", "")


def test_signs_that_would_not_show_are_made_visible() -> None:
    assert token_text.visible(EVIL) == "&lt;script&gt;alert(1)&lt;/script&gt;"
    assert token_text.visible(ESCAPES) == "␛[31mred␛[0m"
    assert token_text.visible("‮x") == "⟨U+202E⟩x"
    assert token_text.visible("") == "∅"
    assert len(token_text.visible("z" * 1_000_000)) < 200


QUERY = {
    "runs": ["../../../etc", "start-a/../../.."],
    "run": ["/etc/passwd"],
    "curves": ["nothing"],
    "what_if": [EVIL],
    "step": ["-1"],
    "color": [EVIL],
    "smooth": ["many"],
    "x": ["years"],
}


def test_a_link_cannot_leave_the_roots_or_break_a_page(open_app, runs) -> None:
    page = open_app(runs / "other", query=QUERY)
    for view in VIEWS:
        page.go(view)
        assert page.exceptions == [], view
        assert "passwd" not in page.html, view
