"""Every page on real runs: the sentence is the result's, charts are there, nothing is raised."""

from __future__ import annotations

import subprocess
import sys
from html import unescape

import guide
import pytest

import entropylab as el
from entropylab.analysis.curve_data import fit_run, law_points
from entropylab.analysis.curve_forecast import forecast_curve
from entropylab.analysis.tail_data import analyze_run

from .conftest import APP, CHARTS


def said(page) -> str:
    """The page's own HTML as text, its non-breaking spaces as spaces."""
    return unescape(page.html).replace("\u00a0", " ")


@pytest.fixture(scope="module")
def opened() -> dict:
    return {}


@pytest.fixture
def page_of(open_app, runs, opened):
    """``page_of(view)``: the page as it is at first, opened once; treat as read-only."""

    def find(view: str):
        if view not in opened:
            opened[view] = open_app(runs, view=view)
        return opened[view]

    return find


@pytest.mark.parametrize("view", CHARTS)
def test_a_page_shows_its_charts_with_links_to_the_guide_and_raises_nothing(page_of, view) -> None:
    page = page_of(view)
    assert page.exceptions == []
    assert page.sentences == []
    assert page.charts == CHARTS[view]
    assert "How to read this" in [box.label for box in page.test.expander]
    title = {"what_if": "What-if"}.get(view, view.capitalize())
    assert guide.section(title) in [text.value for text in page.test.markdown]
    links = [text.value for text in page.test.caption if text.value.startswith("[Guide]")]
    assert links == [f"[Guide](guide#{title.lower()})"] * CHARTS[view]


def test_the_guide_has_no_pictures_and_needs_no_runs(open_app, tmp_path) -> None:
    page = open_app(tmp_path, view="guide")
    assert page.exceptions == []
    (text,) = [text.value for text in page.test.markdown]
    assert text.startswith("# The dashboard")
    assert "![" not in text


def test_the_overview_opens_with_the_comparison(page_of, runs) -> None:
    page = page_of("overview")
    compared = el.compare_runs(el.open_runs(runs / "start-a"))
    assert compared.summary().splitlines()[0] in said(page)
    last = el.open_run(runs / "start-a" / "baseline-s0").steps()["entropy_token_mean"].iloc[-1]
    assert f"<b>{last:.3f}</b>" in page.html


def test_the_law_opens_with_the_fit(page_of, runs) -> None:
    page = page_of("law")
    fit = fit_run(el.open_run(runs / "start-a" / "baseline-s0"))
    assert f"baseline-s0: {fit.summary().splitlines()[0]}" in said(page)
    assert f"<b>{fit.ceiling:.3f}</b>" in page.html


def test_the_law_on_the_first_evaluations_says_what_then_happened(open_app, runs) -> None:
    page = open_app(runs, view="law")
    page.test.slider(key="law_first").set_value(8).run()
    points = law_points(el.open_run(runs / "start-a" / "baseline-s0"))
    made = forecast_curve(points["entropy"], points["performance"], first=8, steps=points["step"])
    assert page.exceptions == []
    assert made.summary().splitlines()[0] in said(page)


def test_the_law_follows_metric_and_entropy(open_app, runs) -> None:
    page = open_app(runs, view="law")
    page.test.selectbox(key="law_metric").set_value("pass@8").run()
    page.test.selectbox(key="law_entropy").set_value("entropy_response_mean").run()
    run = el.open_run(runs / "start-a" / "baseline-s0")
    fit = fit_run(run, metric="pass@8", entropy="entropy_response_mean")
    assert fit.summary().splitlines()[0] in said(page)


def test_the_law_stands_beside_other_shapes_on_request(open_app, runs) -> None:
    page = open_app(runs, view="law")
    before = len(page.test.dataframe)
    page.test.toggle(key="law_shapes").set_value(True).run()
    found = fit_run(el.open_run(runs / "start-a" / "baseline-s0")).alternatives
    assert page.exceptions == []
    assert len(page.test.dataframe) == before + 1
    assert page.test.dataframe[0].value["name"].tolist() == found.to_frame()["name"].tolist()


def test_the_tails_open_with_the_report(page_of, runs) -> None:
    page = page_of("tails")
    report = analyze_run(el.open_run(runs / "start-a" / "baseline-s0"))
    assert report.summary().splitlines()[0] in said(page)
    for line in (*report.verdict, *report.explanations):
        assert line in said(page)


def test_the_selection_opens_with_a_controlled_run(page_of, runs) -> None:
    page = page_of("selection")
    result = el.attribute(el.open_run(runs / "start-a" / "clip_cov-s0"))
    assert f"clip_cov-s0: {result.summary().splitlines()[1]}" in said(page)


def test_a_run_without_selection_is_said_to_have_none(open_app, runs) -> None:
    page = open_app(runs, view="selection")
    page.test.selectbox(key="run").set_value("start-a/baseline-s0").run()
    assert page.exceptions == []
    assert "baseline-s0: No token was selected" in said(page)
    assert "of the selected" not in said(page)


def test_without_influence_its_page_says_how_to_record_it(page_of) -> None:
    page = page_of("influence")
    assert "The 4 chosen runs hold no influence" in said(page)
    assert "influence_every=20" in page.test.code[0].value


def test_the_run_in_focus_travels_between_pages(open_app, runs) -> None:
    page = open_app(runs, view="law")
    page.test.selectbox(key="run").set_value("start-a/clip_cov-s1").run()
    assert page.go("tails").test.selectbox(key="run").value == "start-a/clip_cov-s1"
    assert page.go("selection").test.selectbox(key="run").value == "start-a/clip_cov-s1"


def test_last_steps_read_other_tokens(open_app, make_run, tmp_path) -> None:
    make_run(tmp_path / "long", steps=24, prompts=16)
    page = open_app(tmp_path, view="tails")
    page.test.segmented_control(key="rows").set_value("last steps").run()
    report = analyze_run(el.open_run(tmp_path / "long"), steps=range(4, 24))
    assert report.summary().splitlines()[0] in said(page)


def test_the_app_needs_no_torch(runs) -> None:
    script = (
        "import sys, os; sys.path.insert(0, sys.argv[1]); os.environ['ENTROPYLAB_PATHS'] = sys.argv[2];"
        "from streamlit.testing.v1 import AppTest;"
        "test = AppTest.from_file(sys.argv[1] + '/main.py', default_timeout=60).run();"
        "[test.switch_page(f'views/{v}.py').run() for v in ('law', 'tails', 'selection', 'influence')];"
        "assert not test.exception; assert 'torch' not in sys.modules, 'torch was imported'"
    )
    command = [sys.executable, "-c", script, str(APP), str(runs / "other")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
