"""A report as Markdown: the content of the page, figures beside it, and nothing half written."""

from __future__ import annotations

import re
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from typer.testing import CliRunner

from entropylab.cli.main import app
from entropylab.errors import UnknownNameError
from entropylab.report import writing
from entropylab.report.build import write_report
from entropylab.report.formats import Format, format_of
from entropylab.report.story import limits, story
from entropylab.report.writing import replace_with_figures

TEXT = "{http://www.w3.org/2000/svg}text"


@pytest.fixture(scope="module")
def report(findings, tmp_path_factory) -> Path:
    return write_report(findings, tmp_path_factory.mktemp("report") / "my report.md")


def pictures(report: Path) -> list[str]:
    return re.findall(r"!\[[^]]*\]\(([^)]+)\)", report.read_text(encoding="utf-8"))


def test_every_figure_is_there_well_formed_and_its_text_is_text(report):
    shown = [report.parent / target.replace("%20", " ") for target in pictures(report)]
    assert len(shown) == 9
    assert sorted(shown) == sorted((report.parent / "my report_files").iterdir())
    for path in shown:
        root = ElementTree.fromstring(path.read_text(encoding="utf-8"))
        assert len(list(root.iter(TEXT))) > 4
    assert any(text.text == "step" for text in ElementTree.parse(shown[0]).iter(TEXT))


def test_the_content_is_that_of_the_page(findings, report, page):
    text = report.read_text(encoding="utf-8")
    headings = re.findall(r"^## (.*)$", text, flags=re.MULTILINE)
    assert headings == re.findall(r"<h2>(.*?)</h2>", page)
    assert len(re.findall(r"^\| --- \|", text, flags=re.MULTILINE)) == page.count("<table")
    for sentence in [*story(findings), limits(findings)]:
        assert f"> {sentence}".replace("[", r"\[").replace("]", r"\]") in text
    assert "cov_i = (log p_i - mean log p)(A_i - mean A)" in text


def test_rows_of_a_table_have_one_width(report):
    for block in report.read_text(encoding="utf-8").split("\n\n"):
        if block.startswith("|"):
            assert len({len(re.findall(r"(?<!\\)\|", row)) for row in block.splitlines()}) == 1


OLD = {"law0-00000000.svg": "old law", "steps-11111111.svg": "the same"}
NEW = {"law0-22222222.svg": "new law", "steps-11111111.svg": "the same"}


def write(folder: Path, text: str, files: dict[str, str]) -> dict[str, str]:
    """Write a report of such figures; the files that are there after it."""
    replace_with_figures(folder / "report.md", text, folder / "report_files", files)
    return content(folder)


def content(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_a_second_report_leaves_only_its_own_figures_and_foreign_files(tmp_path):
    write(tmp_path, "old", OLD)
    (tmp_path / "report_files" / "mine.svg").write_text("mine")
    found = write(tmp_path, "new", NEW)
    assert found == {f"report_files/{name}": text for name, text in (NEW | {"mine.svg": "mine"}).items()} | {
        "report.md": "new"
    }


@pytest.mark.parametrize("written", [0, 1, 2])
def test_a_failed_write_leaves_the_old_report_whole(written, tmp_path, monkeypatch):
    before = write(tmp_path, "old", OLD)
    fail_after(written, monkeypatch)
    with pytest.raises(OSError, match="full"):
        write(tmp_path, "new", NEW)
    assert content(tmp_path) == before


def test_a_failed_first_write_leaves_nothing(tmp_path, monkeypatch):
    fail_after(1, monkeypatch)
    with pytest.raises(OSError, match="full"):
        write(tmp_path, "new", NEW)
    assert list(tmp_path.iterdir()) == []


def fail_after(written: int, monkeypatch) -> None:
    """Let that many files through, then fill the disk."""
    real, done = writing.os.replace, []

    def replace(source, target):
        if len(done) == written:
            raise OSError("disk full")
        done.append(target)
        real(source, target)

    monkeypatch.setattr(writing.os, "replace", replace)


def test_the_ending_decides_and_format_overrules_it():
    assert format_of("a/REPORT.MD") is format_of("a.markdown") is Format.MARKDOWN
    assert format_of("report.html") is format_of("report") is Format.HTML
    assert format_of("report.html", "md") is Format.MARKDOWN
    with pytest.raises(UnknownNameError, match="pdf"):
        format_of("report.pdf", "pdf")


def test_the_command_writes_either_format(make_run, tmp_path, monkeypatch):
    path = str(make_run(tmp_path / "run", steps=2, prompts=6).path)
    shutil.rmtree(tmp_path / "run" / "tokens")
    shutil.rmtree(tmp_path / "run" / "evaluations")
    monkeypatch.chdir(tmp_path)
    for arguments, name, start in (
        (["--format", "md"], "report.md", "# Entropy report"),
        (["-o", "x.md", "--format", "html"], "x.md", "<!doctype html>"),
        ([], "report.html", "<!doctype html>"),
    ):
        done = CliRunner().invoke(app, ["report", path, *arguments])
        assert done.exit_code in (0, 1), done.output
        assert (tmp_path / name).read_text().startswith(start)
    assert CliRunner().invoke(app, ["report", path, "--format", "pdf"]).exit_code == 2
