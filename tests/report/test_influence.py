"""The section on influence, on real runs of the lab: its figures, its caution, and where it is left out."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

import entropylab as el
from entropylab.analysis.proxy_audit import CAUTION, CONTROL, EXPERIMENT
from entropylab.report.blocks import Fold, Heading, Paragraph, Picture, Table
from entropylab.report.build import write_report
from entropylab.report.finding import Finding, attempt
from entropylab.report.findings import Findings, gather
from entropylab.report.influence import influence_section
from entropylab.report.numbers import MISSING

TITLE = "Influence of tokens on the entropy"


@pytest.fixture(scope="module")
def findings(influence_runs) -> Findings:
    """The audits alone."""
    runs = el.open_runs(influence_runs)
    audits = tuple(attempt(run.name, partial(el.audit_proxies, run), run) for run in runs)
    labels = {str(run.path): run.name for run in runs}
    return Findings(tuple(runs), labels, (), (), (), (), (), (), audits, Finding("all runs", missing="None"))


@pytest.fixture(scope="module")
def blocks(findings) -> list:
    return list(influence_section(findings))


def of(kind, blocks) -> list:
    return [block for block in blocks if isinstance(block, kind)]


def test_each_method_has_its_audit_in_one_figure_and_a_table(findings, blocks) -> None:
    assert all(finding in findings.all() for finding in findings.audits)
    (picture,) = of(Picture, blocks)
    assert len(picture.drawing.axes) == 2
    assert "clip_cov 1,920 in 6 updates of the steps 0 to 8" in picture.caption
    for shown, finding in zip(of(Table, blocks), findings.audits, strict=True):
        audited = finding.result.proxies
        assert [row[0] for row in shown.rows] == audited["proxy"].tolist()
        first = audited.iloc[0]
        low, high = first["spearman_low"], first["spearman_high"]
        assert shown.rows[0][1] == f"{first['spearman']:.2f}\n{low:.2f} to {high:.2f}"
        assert shown.rows[0][4].startswith(f"{100 * first['raises']:.0f} %\n")
    assert of(Table, blocks)[1].rows[-1][:2] == (CONTROL, MISSING)


def test_the_caution_stands_before_the_figure(blocks) -> None:
    words = [block.text for block in blocks[:3] if isinstance(block, Paragraph)]
    assert f"{CAUTION} {EXPERIMENT}" in words


def test_groups_are_told_on_request(findings, blocks) -> None:
    (fold,) = of(Fold, blocks)
    groups = of(Table, fold.blocks)
    assert len(groups) == 4
    result = findings.audits[0].result
    assert [row[0] for row in groups[0].rows][:4] == [
        "first third",
        "middle third",
        "last third",
        "likely, advantage above",
    ]
    assert groups[0].rows[0][2].startswith(f"{result.groups['spearman'].iloc[0]:.2f}\n")
    assert not any("nan" in cell for table in groups for row in table.rows for cell in row)


def test_html_and_markdown_have_the_section(findings, tmp_path) -> None:
    page = write_report(findings, tmp_path / "r.html").read_text(encoding="utf-8")
    text = write_report(findings, tmp_path / "r.md").read_text(encoding="utf-8")
    assert f"<h2>{TITLE}</h2>" in page
    assert f"\n## {TITLE}\n" in text
    assert len(re.findall(r"influence0-[0-9a-f]{8}\.svg", text)) == 1
    assert all("not a better control" in form for form in (page, text))


def test_without_influence_there_is_no_section(make_run, tmp_path) -> None:
    run = make_run(tmp_path / "plain", steps=1, prompts=4)
    with el.Recorder(tmp_path / "empty") as recorder:
        recorder.flush()
    found = gather([run, el.open_run(tmp_path / "empty")])
    assert found.audits == ()
    assert list(influence_section(found)) == []


def test_influence_that_cannot_be_audited_is_told(findings, tmp_path) -> None:
    influence = np.full((2, 3), np.nan)
    with el.Recorder(tmp_path / "nan") as recorder:
        given = {"logprobs": np.full((2, 3), -1.0), "advantages": np.array([1.0, -1.0])}
        recorder.record(0, **given, mask=np.ones((2, 3), bool), influence=influence)
    (audit,) = gather([el.open_run(tmp_path / "nan")]).audits
    found = replace(findings, audits=(audit,))
    blocks = list(influence_section(found))
    assert [block.text for block in of(Heading, blocks)] == [TITLE]
    assert any("nan: the proxies are not audited. nan: no update" in b.text for b in of(Paragraph, blocks))
    lacking = Finding("r", missing="Reason")
    assert any(
        "Reason." in b.text for b in of(Paragraph, influence_section(replace(found, audits=(lacking,))))
    )
