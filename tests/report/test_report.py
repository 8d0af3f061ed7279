from __future__ import annotations

import base64
import hashlib
import re
import shutil
from html.parser import HTMLParser

import pytest

from entropylab.errors import InsufficientDataError, RunNotFoundError
from entropylab.report.build import build_report, write_report
from entropylab.report.findings import gather
from entropylab.report.page import figure, table
from entropylab.report.settings import flatten, split_settings
from entropylab.report.story import limits, story
from entropylab.report.writing import replace


class Balance(HTMLParser):
    """Checks that every element that is opened is closed, in order."""

    VOID = ("meta", "link", "br", "img", "input")

    def __init__(self):
        super().__init__()
        self.open = []

    def handle_starttag(self, tag, attrs):
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_well_formed(page):
    parser = Balance()
    parser.feed(page)
    assert parser.open == []


def test_the_page_fetches_nothing_and_its_policy_allows_one_script(page):
    assert "http://" not in page
    assert "https://" not in page
    (script,) = re.findall(r"<script>(.*?)</script>", page, flags=re.DOTALL)
    assert page.count("<script") == 1
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert (
        f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'" in page
    )
    assert "<link" not in page
    assert "@import" not in page
    assert all(target.startswith("#") for target in re.findall(r'(?:href|src)="([^"]*)"', page))
    assert all(target.startswith("#") for target in re.findall(r"url\(([^)]*)\)", page))


def test_every_reference_inside_the_drawings_resolves_once(page):
    ids = re.findall(r'\bid="([^"]+)"', page)
    wanted = set(re.findall(r'href="#([^"]+)"', page)) | set(re.findall(r"url\(#([^)]+)\)", page))
    assert wanted <= set(ids)
    assert len(ids) == len(set(ids))


def test_light_and_dark_and_every_section_are_there(page):
    assert "prefers-color-scheme: dark" in page
    assert re.findall("<h2>(.*?)</h2>", page) == [
        "How the runs stand",
        "Entropy and performance",
        "The entropy-performance law",
        "The covariance of tokens",
        "Predicted and observed change of the entropy",
        "What other controls would have chosen",
        "Methods",
        "Settings",
        "Data",
    ]
    assert page.count("<figure") == page.count("<figcaption") == 9
    assert "currentColor" in page


def test_the_summary_holds_the_numbers_of_the_analyses(findings, page):
    ends = findings.comparison.result.methods.set_index(["method", "metric"])["mean"]
    for method in ("baseline", "clip_cov"):
        assert f"{ends[(method, 'entropy_end')]:.2f}" in story(findings)[0]
    assert f"{findings.law[0].result.ceiling:.2f}" in story(findings)[1]
    share = findings.tails[0].result.top_share_positive[0.02]
    assert f"{100 * share:.0f} %" in story(findings)[2]
    for sentence in [*story(findings), limits(findings)]:
        assert sentence.replace("'", "&#x27;") in page
        assert "nan" not in sentence


def test_limits_give_the_differences_and_claim_no_more(findings):
    gaps = findings.comparison.result.differences.set_index("metric")
    accuracy = gaps.loc["accuracy_end"]
    text = limits(findings)
    assert (
        f"{accuracy['difference']:+.3f} [{accuracy['low']:+.3f} to {accuracy['high']:+.3f}] (Clip-Cov)"
        in text
    )
    assert f"pass@8 {gaps.loc['pass@8_end', 'difference']:+.3f}" in text
    assert text.startswith("No method raises mean accuracy") == (accuracy["difference"] <= 0)


def test_without_a_baseline_nothing_is_said_about_performance(runs):
    assert "nothing is said" in limits(gather(runs[2:]))


def test_missing_evaluations_and_tokens_are_plain_sentences(make_run, tmp_path):
    run = make_run(tmp_path / "bare", steps=3, prompts=8)
    shutil.rmtree(run.path / "evaluations")
    shutil.rmtree(run.path / "tokens")
    page = build_report([run], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "no law was fitted" in page
    assert "the tail is not described" in page
    assert "tokens are not attributed" in page
    assert "the change is not predicted" in page
    assert "nothing is replayed" in page
    assert "problem" in page.partition("<h2>Data</h2>")[2]


def test_a_one_step_run_still_gives_a_page(make_run, tmp_path):
    run = make_run(tmp_path / "one", steps=1, prompts=8)
    assert build_report([run], tmp_path / "report.html").is_file()


def test_no_run_and_no_folder_are_errors(findings, tmp_path):
    with pytest.raises(InsufficientDataError):
        build_report([], tmp_path / "report.html")
    with pytest.raises(RunNotFoundError, match="nowhere"):
        write_report(findings, tmp_path / "nowhere" / "report.html")


def test_a_failed_write_leaves_the_old_report_and_no_litter(tmp_path):
    target = tmp_path / "report.html"
    target.write_text("old")
    with pytest.raises(UnicodeEncodeError):
        replace(target, "\ud800")
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_text_from_runs_is_escaped():
    assert "&lt;script&gt;" in table(["<script>"], [["<script>alert(1)</script>"]])
    assert "<b>a &lt; b</b>" in figure("<svg></svg>", "a < b", "c", key="k")


def test_settings_are_split_into_shared_and_different():
    shared, different = split_settings(
        [{"a": {"b": 1, "c": [1] * 50}, "d": 2}, {"a": {"b": 1, "c": [1] * 50}}]
    )
    assert shared == {"a.b": "1", "a.c": "list of 50"}
    assert different == [("d", ["2", "–"])]
    assert flatten({"x": "y" * 500})["x"].endswith("…")
