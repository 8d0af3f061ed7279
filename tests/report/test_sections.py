"""The numbers of health, dynamics, replays and matched comparison are those of the analyses."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import entropylab as el
from entropylab.analysis.health import run_health
from entropylab.record.alerts import Alert, Decline
from entropylab.report.blocks import Fold, Paragraph, Picture, Table
from entropylab.report.build import build_report
from entropylab.report.dynamics import dynamics_section
from entropylab.report.finding import Finding, attempt
from entropylab.report.findings import Findings, gather
from entropylab.report.health import half_life, health_section
from entropylab.report.matched import matched_section, sentence
from entropylab.report.numbers import MISSING, between, number, share, with_interval
from entropylab.report.replays import replays_of, replays_section

SAMPLES = Path(__file__).parents[2] / "sample_logs" / "start-a"
NONE = Findings((), {}, (), (), (), (), (), (), (), Finding("all runs"))


@pytest.fixture(scope="module")
def samples() -> dict[str, el.Run]:
    return {run.name: run.frozen() for run in el.open_runs(SAMPLES)}


def found(samples, analysis, *names) -> tuple[Finding, ...]:
    return tuple(attempt(name, lambda name=name: analysis(samples[name]), samples[name]) for name in names)


def of(kind, blocks) -> list:
    return [block for block in blocks if isinstance(block, kind)]


def texts(blocks) -> str:
    return "\n".join(block.text for block in of(Paragraph, blocks))


def test_the_health_of_every_run_is_that_of_the_analysis(samples):
    blocks = list(health_section(replace(NONE, health=found(samples, run_health, *samples))))
    (table,) = of(Table, blocks)
    assert [row[0] for row in table.rows] == list(samples)
    for row, run in zip(table.rows, samples.values(), strict=True):
        health = run_health(run)
        cells = dict(zip(table.columns, row, strict=True))
        assert cells["state"] == health.verdict
        assert cells["H now"] == f"{health.entropy_now:.3f}\nfrom {health.entropy_start:.3f}"
        assert cells["half-life"].startswith(f"{health.decline.half_life:.0f}\n")
        assert cells["gain used"] == share(health.gain_used)
        assert cells["selected"] == share(health.selected_fraction)
        assert cells["no advantage"] == share(health.zero_advantage_fraction)
        assert cells["alerts"] == "0"
    assert "No alerts." in texts(blocks)


def test_an_alert_is_counted_named_and_told(samples):
    alert = Alert("no_op_control", 9, "ClipCov selected <b>nothing</b>")
    health = replace(run_health(samples["clip_cov-s0"]), alerts=(alert,))
    blocks = list(health_section(replace(NONE, health=(Finding("r", result=health),))))
    assert of(Table, blocks)[0].rows[0][-1] == "1"
    assert "Alert, r, no op control: ClipCov selected <b>nothing</b>." in texts(blocks)
    assert "No alerts." not in texts(blocks)


def test_a_half_life_stands_over_its_interval_and_a_steady_run_has_none():
    assert half_life(Decline(-math.log(2) / 100, -math.log(2) / 50, -math.log(2) / 400)) == "100\n50 to 400"
    assert half_life(Decline(0.0, -0.001, 0.002)) == f"{MISSING}\n-0.10 to +0.20 % a step"
    assert half_life(None) == MISSING


@pytest.fixture(scope="module")
def dynamics(samples) -> tuple[Finding, ...]:
    return found(samples, el.entropy_dynamics, "baseline-s0", "clip_cov-s0")


def test_the_slopes_are_those_of_the_analysis_for_every_form_and_window(dynamics):
    blocks = list(dynamics_section(replace(NONE, dynamics=dynamics)))
    (table,), (fold,) = of(Table, blocks), of(Fold, blocks)
    for row, finding in zip(table.rows, dynamics, strict=True):
        single, wide = (finding.result.fit("same_states", window=window) for window in (1, 10))
        assert row[0] == finding.label
        assert row[1] == "400"
        assert row[2] == f"{single['slope']:.3f}\n{single['low']:.3f} to {single['high']:.3f}"
        assert (row[3], row[5]) == (f"{single['r']:.2f}", f"{wide['r']:.2f}")
    every = of(Table, fold.blocks)
    assert len(every) == 4
    assert all(len(one.rows) == 4 and len(one.columns) == 5 for one in every)
    fit = dynamics[0].result.fit("between", "response_pg")
    assert every[1].rows[3][1] == with_interval(fit["slope"], fit["low"], fit["high"])
    assert every[1].rows[3][2] == MISSING
    assert dynamics[0].result.summary().splitlines()[0] in texts(fold.blocks)


def test_the_dynamics_share_a_figure_whose_caption_counts_the_steps(dynamics):
    (picture,) = of(Picture, dynamics_section(replace(NONE, dynamics=dynamics)))
    assert len(picture.drawing.axes) == 2
    assert "baseline-s0 400 of 400; clip_cov-s0 400 of 400" in picture.caption


@pytest.fixture(scope="module")
def replays(samples) -> tuple[Finding, ...]:
    return found(samples, replays_of, "baseline-s0", "clip_cov-s0")


def test_a_run_replays_its_own_control_and_a_baseline_the_paper_s(samples, replays):
    baseline, clip = (dict(finding.result) for finding in replays)
    assert next(iter(baseline)) == "Clip-Cov, 0.02 % (paper)"
    assert next(iter(clip)) == "ClipCov, 2 % (its own)"
    assert clip["ClipCov, 2 % (its own)"].overlap == 1.0
    alone = el.replay(samples["clip_cov-s0"], "kl_cov_7b")
    assert clip["KL-Cov, 0.2 % (paper, 7B)"].updates.equals(alone.updates)
    assert clip["random tokens, 2 %"].n_chosen == clip["highest covariances, 2 %"].n_chosen == 960


def test_the_replays_tabled_are_those_of_the_analysis(replays):
    blocks = list(replays_section(replace(NONE, replays=replays)))
    for table, finding in zip(of(Table, blocks), replays, strict=True):
        for row, (words, result) in zip(table.rows, finding.result, strict=True):
            assert row[0].replace("\n", ", ") == words
            assert row[1] == f"{share(result.fraction)}\n{result.n_chosen:,} tokens"
            assert row[2] == share(result.mass_removed)
            assert row[3] == share(result.quadrants["low_below"] / result.n_chosen)
            assert row[-1] == (number(result.overlap, 2) if result.n_selected else MISSING)
    (fold,) = of(Fold, blocks)
    pieces = of(Table, fold.blocks)[1].rows
    expected = replays[1].result[0][1].pieces
    assert [row[2] for row in pieces] == [share(value) for value in expected["overlap"]]
    assert replays[1].result[0][1].summary().splitlines()[0] in texts(fold.blocks)
    (picture,) = of(Picture, blocks)
    assert "clip_cov-s0 ClipCov, 2 % (its own), 51,200 tokens in 80 updates of the steps 0 to 190" in (
        picture.caption
    )


@pytest.fixture(scope="module")
def comparison(samples) -> Finding:
    return attempt("all runs", lambda: el.compare_runs(list(samples.values())))


def test_the_matched_differences_are_those_of_the_analysis(comparison):
    blocks = list(matched_section(comparison))
    (table,), (fold,) = of(Table, blocks), of(Fold, blocks)
    matched = comparison.result.matched.set_index(["method", "at", "metric"])
    assert [row[0].partition("\n")[0] for row in table.rows] == [
        f"{name}, {at}" for name in ("Clip-Cov", "KL-Cov") for at in ("steps", "tokens", "entropy")
    ]
    for rows, bounds in ((table.rows, ""), (of(Table, fold.blocks)[0].rows, "wide_")):
        row = matched.loc[("clip_cov", "entropy", "pass@8")]
        interval = f"{row[f'{bounds}low']:+.3f} to {row[f'{bounds}high']:+.3f}"
        assert rows[2][3] == f"{row['difference']:+.3f}\n{interval}"
    assert table.rows[2][0].endswith(f"{row['x']:.3f} nats")
    row = matched.loc[("clip_cov", "entropy", "accuracy")]
    assert f"accuracy at T = 1 {row['difference']:+.3f} (95 %: {row['low']:+.3f}" in texts(blocks)


@pytest.mark.parametrize(
    ("low", "high", "told"),
    [
        (-0.1, 0.1, "neither is shown to have more accuracy"),
        (0.01, 0.1, "it is shown to have more accuracy"),
        (-0.2, -0.1, "it is shown to have less accuracy"),
        (math.nan, math.nan, "may be the seed's"),
    ],
)
def test_the_sentence_claims_what_the_interval_shows(comparison, low, high, told):
    matched = comparison.result.matched
    chosen = matched[(matched["at"] == "entropy") & (matched["metric"] == "accuracy")]
    (row,) = chosen.head(1).assign(low=low, high=high).itertuples()
    assert told in sentence(row, 0.95)
    (row,) = chosen.head(1).assign(difference=math.nan).itertuples()
    assert "no accuracy" in sentence(row, 0.95)


def test_one_seed_has_no_interval_and_no_fold_of_wider_ones(samples):
    pair = [samples["baseline-s0"], samples["clip_cov-s0"]]
    blocks = list(matched_section(attempt("all runs", lambda: el.compare_runs(pair))))
    (table,) = of(Table, blocks)
    assert not any("to" in cell for row in table.rows for cell in row[1:])
    assert "the difference may be the seed's" in texts(blocks)
    assert not of(Fold, blocks)


def test_without_a_baseline_the_matched_comparison_says_so(samples):
    only = attempt("all runs", lambda: el.compare_runs([samples["clip_cov-s0"], samples["clip_cov-s1"]]))
    for comparison in (only, Finding("all runs", missing="Reason")):
        blocks = list(matched_section(comparison))
        assert not of(Table, blocks)
        assert "No comparison of methods that have come equally far." in texts(blocks)


def test_every_section_says_what_a_run_lacks():
    lacking = (Finding("r", missing="Reason"),)
    findings = replace(NONE, health=lacking, dynamics=lacking, replays=lacking)
    for section, words in (
        (health_section, "its state is unknown"),
        (dynamics_section, "the change is not predicted"),
        (replays_section, "nothing is replayed"),
    ):
        blocks = list(section(findings))
        assert f"r: {words}. Reason." in texts(blocks)
        assert not of(Table, blocks)


@pytest.fixture
def bare(tmp_path) -> el.Run:
    """Four steps of logprobs and advantages: no token row, entropy or evaluation."""
    rng = np.random.default_rng(0)
    given = {
        "logprobs": rng.normal(-1, 0.1, (4, 3)),
        "advantages": rng.normal(0, 1, 4),
        "mask": np.ones((4, 3)),
    }
    sampling = el.TokenSampling(every_steps=1000)
    with el.Recorder(tmp_path / "bare", method="clip_cov", token_sampling=sampling) as recorder:
        for step in range(1, 5):
            recorder.record(step, **given)
    return el.open_run(tmp_path / "bare")


def test_a_run_without_tokens_entropies_and_evaluations_is_told_not_raised(bare, tmp_path):
    page = build_report([bare], tmp_path / "report.html").read_text(encoding="utf-8")
    assert "bare: the change is not predicted. bare: 0 steps have an entropy" in page
    assert "bare: nothing is replayed. bare: no update whose tokens are all stored" in page
    assert "<td>unknown</td>" in page


def test_the_first_run_with_tokens_of_a_method_is_replayed(bare, make_run, tmp_path):
    findings = gather([bare, make_run(tmp_path / "full", steps=2, prompts=6)])
    assert [finding.label for finding in findings.replays] == ["full"]
    assert [finding.label for finding in findings.dynamics] == ["bare"]


def test_numbers_as_they_stand_in_cells():
    assert [number(None), number(math.nan), number(0.12345), number(0.5, 1, "+")] == [
        MISSING,
        MISSING,
        "0.123",
        "+0.5",
    ]
    assert [share(None), share(0.0), share(0.123), share(0.0123)] == [MISSING, "0 %", "12 %", "1.2 %"]
    assert between(math.nan, 1.0) == ""
    assert with_interval(1.0, 0.5, 1.5, 1, "+") == "+1.0\n+0.5 to +1.5"
    assert with_interval(1.0, math.nan, math.nan, 1) == "1.0"
