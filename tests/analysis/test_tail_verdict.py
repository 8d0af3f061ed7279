from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from entropylab.analysis.cluster_bootstrap import Clusters
from entropylab.analysis.tail_frames import null_frame
from entropylab.analysis.tail_power_law import check_power_law, exponential_distance
from entropylab.analysis.tail_replicates import Side
from entropylab.analysis.tail_sample import tail_sample
from entropylab.analysis.tail_verdict import MARGINS, SHAPES, judge_concentration, judge_margins, judge_shape
from entropylab.analysis.tails import analyze_tails

DRAWS = {
    "pareto": (lambda rng, n: 1 + rng.pareto(1.8, n), {"power-law-like"}),
    "student t, 2 degrees": (lambda rng, n: rng.standard_t(2, n), {"power-law-like"}),
    "lognormal": (lambda rng, n: rng.lognormal(0, 1, n), {"heavier than exponential"}),
    "stretched exponential": (lambda rng, n: rng.weibull(0.5, n), {"heavier than exponential"}),
    "exponential": (lambda rng, n: rng.exponential(size=n), {"exponential-like"}),
    "Laplace": (lambda rng, n: rng.laplace(size=n), {"exponential-like"}),
    "normal": (lambda rng, n: rng.normal(size=n), {"exponential-like"}),
    "uniform": (lambda rng, n: rng.random(n), {"bounded"}),
    "beta": (lambda rng, n: rng.beta(2, 3, n), {"bounded"}),
}


@pytest.mark.parametrize("name", DRAWS)
def test_shape_of_reference_distributions(name):
    draw, expected = DRAWS[name]
    n = 100_000
    report = analyze_tails(draw(np.random.default_rng(2), n), prompt_ids=np.arange(n) // 500, n_bootstrap=100)
    assert report.verdict[0] in expected, report.explanations[0]
    assert report.verdict[1] == "cannot say"


def test_a_tail_with_a_kink_depends_on_the_threshold():
    rng = np.random.default_rng(1)
    x = rng.random(200_000)
    far = rng.choice(len(x), 500, replace=False)
    x[far] = 1 + rng.pareto(1.0, 500)
    report = analyze_tails(x, prompt_ids=np.arange(len(x)) // 1000, n_bootstrap=100)
    assert report.verdict[0] == "threshold-dependent", report.explanations[0]


def test_the_sentence_says_where_the_index_is_above_0():
    rows = pd.DataFrame({"fraction": [0.001, 0.01], "gpd": [0.3, 0.2], "gpd_low": [0.1, -0.04]})
    line = judge_shape(rows.assign(gpd_high=0.5), None, Clusters(np.arange(100), 100, "prompt"))
    assert line.phrase == "heavier than exponential"
    assert "above 0 at the top 0.1 %;" in line.why
    line = judge_shape(rows.assign(gpd_high=0.5, gpd_low=0.1), None, Clusters(np.arange(100), 100, "prompt"))
    assert "above 0 at every threshold;" in line.why


@pytest.mark.parametrize(
    ("net", "said"),
    [(9.2, "9.2 times the net sum"), (38.0, "next to nothing beside"), (np.nan, "is not positive")],
)
def test_a_net_sum_of_next_to_nothing_is_no_measure(net, said):
    shares = {"top_share_positive": 0.4, "top_share_positive_low": 0.3, "top_share_positive_high": 0.5}
    table = pd.DataFrame([{"fraction": 0.02, "top_share_absolute": 0.2, "top_share_net": net, **shares}])
    assert said in judge_concentration(table).why


def test_few_prompts(rollout_batch):
    batch = rollout_batch(np.random.default_rng(0), prompts=49)
    assert analyze_tails(**batch).verdict[0] == "too few clusters"
    assert "49 prompts" in analyze_tails(**batch).explanations[0]
    few = analyze_tails(**rollout_batch(np.random.default_rng(0), prompts=19))
    assert few.verdict[1] == "cannot say"
    assert "19 prompts" in few.explanations[1]


@pytest.fixture
def decisions(rollout_batch):
    """The second line of `count` batches, from the right side alone."""

    def decide(count, **settings):
        rng = np.random.default_rng(7)
        return [second_line(rollout_batch(rng, **settings)) for _ in range(count)]

    return decide


def second_line(batch):
    sample = tail_sample(**batch)
    side = Side.of(sample, 1.0)
    table = null_frame("right", side, side.point(), side.replicates(60, seed=0), 0.95)
    return judge_margins(table, sample.clusters).phrase


def test_size_independent_margins_are_rarely_called_heavier(decisions):
    """Nominal 2.5 %; 60 batches let through at most 5 (probability .996 at 2.5 %, .03 at 15 %)."""
    assert decisions(60, prompts=64).count("heavier than independent") <= 5


@pytest.mark.long
def test_size_with_responses_and_prompts_that_differ_in_certainty(decisions):
    found = decisions(40, prompts=64, prompt_effect=0.5, response_effect=0.3)
    assert found.count("heavier than independent") <= 4


def test_power_coupled_margins_are_called_heavier(decisions, rollout_batch):
    assert set(decisions(6, prompts=64, coupling=0.2)) == {"heavier than independent"}
    batch = rollout_batch(np.random.default_rng(8), prompts=64, coupling=0.2)
    assert analyze_tails(**batch, n_bootstrap=60).verdict[1] == "heavier than independent"


def test_lighter_than_independent_is_not_heavier(decisions):
    assert set(decisions(4, prompts=64, coupling=-0.2)) == {"no heavier than independent"}


def test_phrases_are_exactly_those_named(rollout_batch):
    report = analyze_tails(**rollout_batch(np.random.default_rng(1)))
    assert report.verdict[0] in SHAPES
    assert report.verdict[1] in MARGINS
    assert report.verdict[2].startswith("the top 2 % hold ")
    assert len(report.verdict) == len(report.explanations) == 3


def test_power_law_check_by_hand():
    logs = np.array([0.1, 0.4, 1.0])
    check = check_power_law(logs, np.arange(3), threshold=2.0)
    assert check.exponent == pytest.approx(2)
    assert check.curvature == pytest.approx((0.01 + 0.16 + 1) / 3 / (2 * 0.25))
    fitted = 1 - np.exp(-logs / 0.5)
    assert exponential_distance(logs) == pytest.approx(
        max(abs(fitted[i] - (i + j) / 3) for i in range(3) for j in (0, 1))
    )


def test_both_tests_are_calibrated_under_a_power_law():
    rng = np.random.default_rng(3)
    checks = [check_power_law(rng.exponential(size=300), np.arange(300), 1.0, seed=i) for i in range(150)]
    assert 0.01 <= np.mean([c.curvature_p < 0.05 for c in checks]) <= 0.1
    assert 0.04 <= np.mean([c.fit_p <= 0.1 for c in checks]) <= 0.17


def test_clusters_lower_the_effective_size():
    rng = np.random.default_rng(4)
    logs, codes = np.repeat(rng.exponential(size=100), 10), np.repeat(np.arange(100), 10)
    assert check_power_law(logs, codes, 1.0).k_effective == pytest.approx(100, rel=0.25)
    assert check_power_law(logs, np.arange(1000), 1.0).k_effective > 900
