"""Names, settings and tokens of a run are shown as text: never as mark-up, links, codes or without end."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from entropylab.plots.text import drawn, one_line, shorten, visible
from entropylab.report.build import write_report
from entropylab.report.findings import Findings, gather
from entropylab.report.markdown import inline, line
from entropylab.report.page import escape

SCRIPT = "<script>alert(1)</script>"
LINK = "[x](javascript:alert(1))"
IMAGE = '<img src=x onerror="alert(1)">'
CODES = "\x1b[31mred\x1b]0;title\x07 \u202egnp\x9b2J"
MARKS = "a|b `c` *d* __e__ ~~f~~ $g^$ \\h #1 https://example.org www.example.org"
HUGE = "A" * 1_000_000
HOSTILE = [SCRIPT, LINK, IMAGE, CODES, MARKS, HUGE, "1. x", "- x", "> x", "---", "a\nb\r\n\n# c", "$\\frac"]


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    names = [f"{SCRIPT.replace('/', '')}{CODES}", f"{LINK}|`$\\frac$"]
    methods = ["baseline", f"{SCRIPT}{LINK}{CODES}|`$\\frac$ {HUGE}"]
    vocabulary = [SCRIPT, LINK, CODES, "|`$x^$", HUGE, "\n", "\u202e", "<end>"]
    config = {f"key {text}": text for text in HOSTILE} | {"vocabulary": vocabulary}
    return [
        make_run(folder / name, method=method, steps=6, prompts=12, config=config | {"own": name})
        for name, method in zip(names, methods, strict=True)
    ]


class Elements(HTMLParser):
    """Names of the elements of a page and the targets of its links."""

    def __init__(self, text: str):
        super().__init__()
        self.names, self.targets, self.handlers = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.names.append(tag)
        self.targets += [value for name, value in attrs if name in ("href", "src", "xlink:href")]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


@pytest.fixture(scope="module")
def findings(runs) -> Findings:
    return gather(runs)


@pytest.fixture(scope="module")
def page(findings, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("page") / "report.html"
    return write_report(findings, path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def report(findings, tmp_path_factory) -> Path:
    return write_report(findings, tmp_path_factory.mktemp("markdown") / "report.md")


def test_the_page_holds_one_script_and_no_foreign_element(page):
    found = Elements(page)
    assert found.names.count("script") == 1
    assert "img" not in found.names
    assert not found.handlers
    assert all(target.startswith(("#", "data:image/png;base64,")) for target in found.targets)
    assert "&lt;script&gt;alert(1)" in page


def test_rendered_markdown_holds_no_script_link_or_foreign_element(report):
    text = report.read_text(encoding="utf-8")
    found = Elements(MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).render(text))
    plain = {"h1", "h2", "h3", "h4", "p", "blockquote", "strong", "img", "br"}
    assert set(found.names) <= plain | {"table", "thead", "tbody", "tr", "th", "td"}
    assert all(re.fullmatch(r"report_files/[a-z]+\d*-[0-9a-f]{8}\.svg", target) for target in found.targets)
    assert not found.handlers
    assert not re.search(r"(?<!\\)://|(?i:www)(?<!\\)\.", text)
    for block in text.split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1


def test_figures_are_well_formed_without_scripts(report):
    paths = list((report.parent / "report_files").iterdir())
    assert len(paths) >= 6
    for path in paths:
        names = {element.tag.rpartition("}")[2] for element in ElementTree.parse(path).iter()}
        assert "text" in names
        assert not names & {"script", "a", "foreignObject"}


def test_no_control_code_and_no_endless_text_is_left(page, report):
    figures = [path.read_text(encoding="utf-8") for path in (report.parent / "report_files").iterdir()]
    for text in [page, report.read_text(encoding="utf-8"), *figures]:
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)
        assert "A" * 5000 not in text
        assert len(text) < 1_500_000
    assert "␛[31mred" in page


@pytest.mark.parametrize("text", HOSTILE)
def test_a_line_of_markdown_reads_as_the_text_itself(text):
    shown = " ".join(visible(text).split())
    rendered = MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(line(text))
    assert re.fullmatch(r"<p>[^<]*</p>\n", rendered)
    assert HTMLText(rendered).text.strip() == shorten(shown, 4000)


class HTMLText(HTMLParser):
    """The text of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.text = ""
        self.feed(text)

    def handle_data(self, data):
        self.text += data


def test_pieces():
    assert inline("a_b|c") == r"a_b\|c"
    assert inline("_a_") == r"\_a\_"
    assert line("1. x") == r"1\. x"
    assert line("-1") == r"\-1"
    assert escape("<\x1b\ud800") == "&lt;␛�"
    assert visible("\x7f\tx\n") == "␡\tx\n"
    assert shorten("abcdefgh", 5) == "ab…gh"
    assert one_line(" a\n b ") == "a b"
    assert drawn("$x$") == r"\$x\$"
