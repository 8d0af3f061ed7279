from __future__ import annotations

import subprocess
import sys

import pytest

from entropylab.plots.style import DASHES, MARKERS, method_label, method_style, run_style


def test_known_methods_keep_their_colours():
    assert method_style("baseline").color == "#66798A"
    assert method_style("clip_cov").color == method_style("Clip-Cov band 2 %").color == "#E69F00"
    assert method_style("kl_cov_7b").color == "#009E73"
    assert method_style("placebo") == method_style("random_clip")
    assert method_style("placebo").dash == "dash"


def test_variants_of_one_method_differ_without_colour():
    top, band = method_style("clip_cov_top"), method_style("clip_cov")
    assert top.color == band.color
    assert top.dash != band.dash


def test_the_longest_known_prefix_decides():
    assert method_style("kl_cov_targeted_2").dash == method_style("kl_cov_targeted").dash
    assert method_style("baselines") == method_style("baselines")
    assert method_style("baseline_s0") == method_style("baseline")


def test_unknown_labels_keep_one_style_and_avoid_the_reserved_colours():
    styles = {method_style(f"run-{i}") for i in range(40)}
    assert len(styles) > 3
    assert not {style.color for style in styles} & {"#E69F00", "#009E73", "#66798A"}


def test_a_run_of_unknown_method_is_styled_by_its_name():
    assert run_style("clip-cov-s0") == method_style("clip_cov")
    assert run_style("anything", "kl_cov") == method_style("kl_cov")


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("clip_cov", "Clip-Cov"),
        ("kl_cov_32b", "KL-Cov 32B"),
        ("baseline", "Baseline"),
        ("entropy_bonus", "Entropy bonus"),
    ],
)
def test_labels_as_people_read_them(raw, shown):
    assert method_label(raw) == shown


def test_every_style_has_a_dash_and_a_marker_for_matplotlib():
    for label in (
        "baseline",
        "clip_cov",
        "kl_cov",
        "placebo",
        "entropy_bonus",
        "kl_penalty",
        "reinforce",
        "x1",
        "x2",
    ):
        style = method_style(label)
        assert style.dash in DASHES
        assert style.marker in MARKERS


def test_styles_load_without_matplotlib():
    code = "import sys, entropylab.plots.style; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
