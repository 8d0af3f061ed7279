"""Runs and their page, made once for the tests of the report; treat them as read-only."""

from __future__ import annotations

import pytest

from entropylab.report.build import write_report
from entropylab.report.findings import Findings, gather


@pytest.fixture(scope="session")
def runs(make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder / f"{method}-s{seed}", method=method, seed=seed, steps=14, prompts=12)
        for method in ("baseline", "clip_cov")
        for seed in (0, 1)
    ]


@pytest.fixture(scope="session")
def findings(runs) -> Findings:
    return gather(runs)


@pytest.fixture(scope="session")
def page(findings, tmp_path_factory) -> str:
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(findings, path).read_text(encoding="utf-8")
