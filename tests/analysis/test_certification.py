"""The committed table of docs/certification.md says what it must, and a short form of it repeats it."""

from __future__ import annotations

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def certify():
    spec = importlib.util.spec_from_file_location("certify", DOCS / "certify.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["certify"] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tables():
    """Heading -> rows of text."""
    found: dict[str, list[list[str]]] = {}
    for part in (DOCS / "certification.md").read_text().split("## ")[1:]:
        lines = [line for line in part.splitlines() if line.startswith("|")]
        cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
        found[part.splitlines()[0]] = [cells[0], *cells[2:]]
    return found


def _ceiling(tables):
    head, *rows = tables["Ceiling of the law"]
    place = head.index("grid")
    return {(float(r[0]), float(r[1])): tuple(map(float, r[place].split(" / "))) for r in rows}


def test_the_interval_of_the_ceiling_holds_its_level(tables):
    found = _ceiling(tables)
    for sd in (0.015, 0.005):
        assert found[0.5, sd][0] >= 0.95
        assert found[0.5, sd][1] <= 1.45
        assert found[0.8, sd][1] <= 1.25
    assert found[0.8, 0.015][0] >= 0.92
    assert found[0.8, 0.005][0] >= 0.88


def test_runs_that_share_their_noise_hold_their_level_and_are_narrower(tables):
    head, *rows = tables["Several runs on one noise law"]
    found = {
        (float(r[0]), float(r[1]), runs): tuple(map(float, r[head.index(runs)].split(" / ")))
        for r in rows
        for runs in ("alone", "5 runs")
    }
    for sd in (0.015, 0.005):
        assert found[0.5, sd, "5 runs"][0] >= 0.95
        assert found[0.8, sd, "5 runs"][0] >= 0.93
        assert found[0.5, sd, "5 runs"][1] < 0.9 * found[0.5, sd, "alone"][1]


def test_independent_margins_are_seldom_called_heavier(tables):
    _, independent, coupled = tables["Heavier than independent"]
    assert float(independent[1]) <= 0.05
    assert float(coupled[1]) >= 0.4


def test_shapes_are_told_apart(tables):
    head, *rows = tables["Shape of the tail"]
    shares = {row[0]: dict(zip(head[1:], map(float, row[1:]), strict=True)) for row in rows}
    assert shares["exponential"]["exponential-like"] >= 0.9
    assert shares["uniform"]["power-law-like"] == 0
    assert shares["Pareto, exponent 2.5"]["power-law-like"] >= 0.6
    for name in ("exponential", "Weibull, shape .6", "uniform"):
        assert shares[name]["power-law-like"] <= 0.1
    assert shares["lognormal, sigma 1"]["power-law-like"] <= 0.3


@pytest.mark.long
@pytest.mark.parametrize(("rho", "sd"), [(0.5, 0.015), (0.8, 0.015)])
def test_a_short_form_repeats_the_table(certify, tables, rho, sd):
    draws = 60
    share, width, _ = certify.ceiling_cell((rho, sd, draws, 123_456))["grid"]
    told, told_width = _ceiling(tables)[rho, sd]
    assert abs(share - told) <= 4 * np.sqrt(told * (1 - told) / draws) + 0.02
    assert width == pytest.approx(told_width, rel=0.15)


def test_the_short_form_of_the_tails(certify):
    assert certify.margins_cell(("independent", 4, 1)) <= 0.25
    assert certify.shape_cell(("exponential", 2, 5)).get("power-law-like", 0.0) == 0.0


def test_the_table_was_made_by_the_code(tables, certify):
    assert list(tables) == [
        "Ceiling of the law",
        "Several runs on one noise law",
        "Heavier than independent",
        "Shape of the tail",
    ]
    assert [row[0] for row in tables["Shape of the tail"][1:]] == list(certify.LAWS)
    assert re.search(r"\d{3,} draws a row", (DOCS / "certification.md").read_text())
