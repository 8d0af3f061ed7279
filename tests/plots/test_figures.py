from __future__ import annotations

import re
from html import unescape

import numpy as np
import pytest

import entropylab as el
from entropylab.errors import InsufficientDataError
from entropylab.plots.attribution import QUADRANT_NAMES, attribution_figure, draw_attribution
from entropylab.plots.comparison import draw_comparison, seed_values
from entropylab.plots.curve import draw_curve
from entropylab.plots.entropy import entropy_figure
from entropylab.plots.figure import NARROW, WIDE, draw, new_figure, save, to_svg
from entropylab.plots.overview import held_share, overview_figure
from entropylab.plots.series import by_method, evaluation_lines, step_lines
from entropylab.plots.tails import draw_tails, tails_figure


@pytest.fixture(scope="module")
def runs(make_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    return [
        make_run(folder / f"{method}-s{seed}", method=method, seed=seed, steps=14, prompts=24)
        for method in ("baseline", "clip_cov")
        for seed in (0, 1)
    ]


def texts(figure):
    return [unescape(text) for text in re.findall(r"<text[^>]*>([^<]*)</text>", to_svg(figure))]


def test_lines_are_the_mean_over_seeds_with_their_range(runs):
    line = step_lines(runs, "entropy_token_mean", share=0)[0]
    seeds = [run.steps().set_index("step")["entropy_token_mean"] for run in runs[:2]]
    assert (line.label, line.seeds) == ("Baseline", 2)
    frame = line.frame.set_index("step")
    np.testing.assert_allclose(frame["value"], (seeds[0] + seeds[1]) / 2)
    np.testing.assert_allclose(frame["low"], np.minimum(*seeds))
    np.testing.assert_allclose(frame["high"], np.maximum(*seeds))


def test_a_metric_that_nobody_evaluated_has_no_line(runs):
    assert evaluation_lines(runs, "elegance") == []
    assert list(by_method(runs)) == ["baseline", "clip_cov"]


def test_three_panels_show_both_methods_and_their_units(runs):
    figure = entropy_figure(runs)
    assert figure.get_size_inches()[0] == pytest.approx(WIDE)
    assert {"Baseline", "Clip-Cov", "entropy H (nats)", "accuracy, T = 1", "pass@8"} <= set(texts(figure))
    assert len(figure.axes[0].lines) == 2


def test_a_run_without_evaluations_says_so_in_the_panel(make_run, tmp_path):
    run = make_run(tmp_path / "run", steps=3, prompts=4)
    for file in (tmp_path / "run" / "evaluations").rglob("*.json"):
        file.unlink()
    assert {"No accuracy evaluated.", "No pass@8 evaluated."} <= set(texts(entropy_figure([run])))
    assert "Too few evaluations for a fit." in texts(overview_figure([run]))


def test_the_overview_puts_the_baseline_first_and_needs_a_run(runs):
    figure = overview_figure(runs[::-1])
    assert figure.axes[0].lines[0].get_color() == "#66798A"
    assert "Entropy collapses" in texts(figure)
    with pytest.raises(InsufficientDataError):
        overview_figure([])


def test_held_share_by_hand():
    covariance = np.array([-1.0, 4.0, 0.0, 2.0, 2.0, -3.0, 0.0, 0.0, 0.0, 0.0])
    np.testing.assert_allclose(held_share(covariance, np.array([0.05, 0.1, 0.2, 1.0])), [0.5, 0.5, 0.75, 1.0])
    assert np.isnan(held_share(-np.ones(4), np.array([0.5]))).all()


def test_a_row_counts_as_the_tokens_it_stands_for():
    covariance, weights = np.array([4.0, 2.0, -1.0, 1.0]), np.array([1.0, 3.0, 4.0, 2.0])
    whole = np.repeat(covariance, weights.astype(int))
    fractions = np.array([0.1, 0.25, 0.5, 1.0])
    np.testing.assert_allclose(held_share(covariance, fractions, weights), held_share(whole, fractions))


def test_the_overview_of_a_sampled_log_says_that_it_estimates(make_run, tmp_path):
    sampling = el.TokenSampling.tail_and_share(0.3, seed=2)
    full, sampled = (
        make_run(tmp_path / name, steps=6, prompts=24, token_sampling=given)
        for name, given in (("full", None), ("sampled", sampling))
    )
    held = {name: overview_figure([run]).axes[2] for name, run in (("full", full), ("sampled", sampled))}
    assert any("estimated from a sample" in text.get_text() for text in held["sampled"].texts)
    assert not any("estimated from a sample" in text.get_text() for text in held["full"].texts)
    exact, estimate = (held[name].lines[0].get_ydata() for name in ("full", "sampled"))
    np.testing.assert_allclose(estimate, exact, atol=0.05)


def test_the_overview_names_the_method_whose_log_is_sampled(make_run, tmp_path):
    sampling = el.TokenSampling.tail_and_share(0.3, seed=2)
    runs = {
        (method, given is not None): make_run(
            tmp_path / f"{method}-{given is not None}",
            method=method,
            steps=4,
            prompts=12,
            token_sampling=given,
        )
        for method in ("baseline", "clip_cov")
        for given in (None, sampling)
    }
    said = {}
    for sampled in ((False, False), (False, True), (True, False), (True, True)):
        pair = [runs["baseline", sampled[0]], runs["clip_cov", sampled[1]]]
        notes = [t.get_text() for t in overview_figure(pair).axes[2].texts if "estimated" in t.get_text()]
        said[sampled] = notes
    assert said == {
        (False, False): [],
        (False, True): ["Clip-Cov: estimated from a sample"],
        (True, False): ["Baseline: estimated from a sample"],
        (True, True): ["estimated from a sample"],
    }


def law(m=60, noise=0.01):
    steps = np.arange(m)
    entropy = 0.6 * np.exp(-steps / 20) + 0.02
    rng = np.random.default_rng(0)
    return el.fit_curve(entropy, 1.2 - 0.5 * np.exp(entropy) + rng.normal(0, noise, m), steps=steps)


def test_the_curve_shows_points_line_interval_form_band_and_ceiling():
    fit = law()
    assert fit.withheld is None
    figure = draw(draw_curve, fit)
    ax = figure.axes[0]
    np.testing.assert_allclose(np.sort(ax.collections[-1].get_offsets()[:, 0]), np.sort(np.exp(fit.entropy)))
    labels = ax.get_legend_handles_labels()[1]
    assert any("5 shapes" in label for label in labels)
    assert any("95%" in label for label in labels)
    assert any(text.startswith(f"ceiling {fit.ceiling:.2f} (") for text in texts(figure))
    assert "H (nats)" in texts(figure)


def test_a_withheld_interval_is_said_and_not_drawn():
    fit = law(m=8)
    assert fit.withheld
    figure = draw(draw_curve, fit)
    assert "interval withheld" in texts(figure)
    assert not any("interval" in label for label in figure.axes[0].get_legend_handles_labels()[1])


def test_results_draw_themselves_on_given_or_new_axes():
    fit = law()
    _, ax = new_figure(NARROW)
    assert fit.plot(ax) is ax
    assert fit.plot().figure is not ax.figure


def test_tails_show_both_sides_beside_independence(runs):
    from entropylab.analysis.tail_data import analyze_run

    report = analyze_run(runs[0], n_bootstrap=50)
    figure = tails_figure(report)
    assert {"covariance > 0", "covariance < 0", "if independent", "tail index ξ"} <= set(texts(figure))
    ax = draw(draw_tails, report).axes[0]
    assert ax.get_xscale() == ax.get_yscale() == "log"


def test_who_draws_the_shares_of_the_sets_it_has(runs):
    result = el.attribute(runs[2])
    ax = draw(draw_attribution, result).axes[0]
    assert ax.get_legend_handles_labels()[1] == ["all tokens", "top 2 %, by covariance", "selected"]
    widths = [bar.get_width() for bar in ax.patches[:4]]
    shares = result.quadrants.set_index(["set", "quadrant"])["share"]["all"]
    np.testing.assert_allclose(widths, [shares[name] for name in QUADRANT_NAMES])
    baseline = draw(draw_attribution, el.attribute(runs[0])).axes[0]
    assert "selected" not in baseline.get_legend_handles_labels()[1]
    assert "position in the response" in texts(attribution_figure(result))


def test_comparison_draws_pairs_of_seeds_behind_their_mean(runs):
    comparison = el.compare_runs(runs)
    ends = comparison.runs.set_index(["method", "seed"])["entropy_end"]
    expected = [ends["clip_cov", seed] - ends["baseline", seed] for seed in (0, 1)]
    np.testing.assert_allclose(np.sort(seed_values(comparison, "clip_cov", "entropy_end")), np.sort(expected))
    figure = draw(draw_comparison, comparison)
    assert {"Clip-Cov", "pass@8", "difference from the baseline at the end"} <= set(texts(figure))
    alone = draw(draw_comparison, el.compare_runs(runs[2:]))
    assert "value at the end" in texts(alone)


def test_svg_keeps_text_follows_the_page_colour_and_is_reproducible():
    one, two = to_svg(draw(draw_curve, law())), to_svg(draw(draw_curve, law()))
    assert one == two
    assert one.startswith("<svg")
    assert "currentColor" in one
    assert "<text" in one


@pytest.mark.quick("svg")
@pytest.mark.parametrize("ending", ["svg", "pdf", "png"])
def test_figures_are_saved_in_each_format(tmp_path, ending):
    save(draw(draw_curve, law()), tmp_path / f"figure.{ending}")
    assert (tmp_path / f"figure.{ending}").stat().st_size > 1000


def test_drawing_leaves_matplotlibs_settings_alone():
    import matplotlib

    before = matplotlib.rcParams["font.size"], matplotlib.rcParams["axes.spines.top"]
    draw(draw_curve, law())
    assert (matplotlib.rcParams["font.size"], matplotlib.rcParams["axes.spines.top"]) == before
