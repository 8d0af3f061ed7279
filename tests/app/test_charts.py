"""The figures: thinned lines keep their extremes, each chart shows what the result holds and nothing else."""

from __future__ import annotations

import chart_look as look
import metric_names
import numpy as np
import pandas as pd
import pytest
from comparison_charts import differences_figure, end_table
from law_charts import law_figure
from page_style import Tile, stroke
from quantities import ENTROPY, SELECTED
from selection_charts import mix, plate, token_label
from series_charts import Drawing, Line, legend, panel_figure
from tail_charts import index_figure, survival_figure
from wording import interval_text, number, share

import entropylab as el
from entropylab.analysis.curve import fit_curve
from entropylab.analysis.curve_forecast import forecast_curve
from entropylab.plots.style import Style, method_style

ORANGE = method_style("clip_cov")


def law_data(m: int = 40) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    entropy = np.linspace(1.0, 0.1, m) + rng.normal(0, 0.01, m)
    return entropy, 0.9 - 0.3 * np.exp(entropy) + rng.normal(0, 0.01, m)


def names(figure) -> list[str]:
    return [trace.name for trace in figure.data if trace.showlegend is not False and trace.name]


def test_a_long_line_is_thinned_and_keeps_its_extremes() -> None:
    y = np.sin(np.linspace(0, 60, 10_001))
    y[[777, 4321]] = 9.0, -9.0
    y[5000:5003] = np.nan
    x, thin = look.thinned(np.arange(len(y)), y)
    assert len(x) <= look.MAX_POINTS
    assert np.nanmax(thin) == 9.0
    assert np.nanmin(thin) == -9.0
    assert (np.diff(x) > 0).all()


def test_a_short_line_is_left_as_it_is() -> None:
    x, y = look.thinned([3, 1, 2], [1.0, np.nan, 2.0])
    assert x.tolist() == [3, 1, 2]
    np.testing.assert_array_equal(y, [1.0, np.nan, 2.0])


def test_a_logarithmic_axis_writes_round_numbers() -> None:
    assert look.log_axis(180, 2600)["ticktext"] == ["200", "500", "1,000", "2,000"]
    assert look.log_axis(1e-4, 1e3)["ticktext"] == [
        "0.0001",
        "0.001",
        "0.01",
        "0.1",
        "1",
        "10",
        "100",
        "1,000",
    ]


def test_the_law_shows_line_interval_form_band_and_ceiling() -> None:
    fit = fit_curve(*law_data())
    figure = law_figure(fit, ORANGE, metric="accuracy")
    assert names(figure) == [
        "form band, 95 % over five curve shapes",
        "95 % interval, conditional on the law",
        "R = b - a exp(H)",
    ]
    ceiling = figure.data[-2]
    assert ceiling.y == (fit.ceiling,)
    low, high = fit.intervals["ceiling"]
    assert (
        ceiling.y[0] - ceiling.error_y.arrayminus[0],
        ceiling.y[0] + ceiling.error_y.array[0],
    ) == pytest.approx((low, high))


def test_a_withheld_interval_is_not_drawn() -> None:
    fit = fit_curve(*(values[:8] for values in law_data()))
    figure = law_figure(fit, ORANGE, metric="accuracy")
    assert fit.withheld
    assert names(figure) == ["R = b - a exp(H)"]


def test_what_then_happened_stands_beside_its_forecast() -> None:
    entropy, performance = law_data()
    made = forecast_curve(entropy, performance, first=25)
    figure = law_figure(made.fit, ORANGE, metric="accuracy", later=made.points)
    later = next(trace for trace in figure.data if trace.name == "what then happened")
    assert list(later.y) == made.points["performance"].tolist()
    whiskers = next(trace for trace in figure.data if trace.name == "forecast for each later evaluation")
    assert list(whiskers.y) == made.points["mean"].tolist()


def seeds(n: int) -> dict[Line, pd.DataFrame]:
    step = np.arange(20)
    return {
        Line(f"run-{i}", "Clip-Cov", ORANGE): pd.DataFrame(
            {"step": step, "tokens": 100.0 * step, "value": 1.0 * i}
        )
        for i in range(n)
    }


def test_seeds_are_gathered_into_a_mean_and_their_spread() -> None:
    figure = panel_figure(ENTROPY, seeds(3), Drawing(True, 1, "tokens"))
    band, line = figure.data
    assert set(band.y) == {0.0, 2.0}
    assert set(line.y) == {1.0}
    assert line.x[-1] == 1900
    assert line.name == "Clip-Cov, mean of 3 runs"


def test_a_longer_run_goes_on_as_a_ghost() -> None:
    series = seeds(2)
    _, short = series
    series[short] = series[short].head(5)
    band, line, ghost = panel_figure(ENTROPY, series, Drawing(True, 1, "steps")).data
    assert max(line.x) == max(band.x) == 4
    assert list(ghost.x) == list(range(4, 20))


def test_ungrouped_runs_are_lines_over_their_ghosts() -> None:
    figure = panel_figure(SELECTED, seeds(2), Drawing(False, 5, "steps"))
    assert [trace.name for trace in figure.data] == ["raw", "run-0", "raw", "run-1"]
    assert figure.layout.xaxis.title.text == "step"


def test_the_legend_has_an_entry_for_what_can_be_told_apart() -> None:
    lines = [*seeds(2), Line("base", "Baseline", method_style("baseline"))]
    assert [label for label, _ in legend(lines, by_family=True)] == ["Clip-Cov", "Baseline"]
    assert [label for label, _ in legend(lines, by_family=False)] == ["Clip-Cov, 2 runs", "base"]


def test_differences_and_end_values_are_those_of_the_comparison(runs) -> None:
    comparison = el.compare_runs(el.open_runs(runs / "start-a"))
    figure = differences_figure(comparison, "entropy_end")
    row = comparison.differences.query("metric == 'entropy_end'").iloc[0]
    pairs, mean = figure.data
    assert np.mean(pairs.x) == pytest.approx(row["difference"])
    assert mean.x == (row["difference"],)
    assert mean.x[0] + mean.error_x.array[0] == pytest.approx(row["high"])
    table = end_table(comparison)
    assert table["method"].tolist() == ["Baseline", "Clip-Cov"]
    mean = comparison.methods.query("method == 'baseline' and metric == 'entropy_end'")["mean"].iloc[0]
    assert table["Entropy H, nats"][0].startswith(f"{mean:.3f} (")


def test_survival_has_both_sides_and_independence(runs) -> None:
    from entropylab.analysis.tail_data import analyze_run

    report = analyze_run(el.open_run(runs / "start-a" / "baseline-s0"))
    figure = survival_figure(report)
    assert len(figure.data) == 4
    assert sum("independent" in trace.name for trace in figure.data) == 2
    assert all((np.asarray(trace.y, dtype=float)[~np.isnan(trace.y)] > 0).all() for trace in figure.data)
    assert len(index_figure(report, "hill").data) >= 2


def test_the_plate_has_squares_of_the_shares(runs) -> None:
    result = el.attribute(el.open_run(runs / "start-a" / "clip_cov-s0"))
    html = plate(result)
    every = result.quadrants.query("set == 'all'")
    for part in every["share"]:
        assert f"width:{100 * part**0.5:.1f}%" in html
    assert html.count("of the selected") == 5


def test_colours_tokens_and_words() -> None:
    assert [mix(v, 2.0) for v in (0.0, 2.0, -9.0)] == ["#ffffff", "#e69f00", "#0072b2"]
    assert [token_label(t, 7) for t in (" a\n", None, "")] == ["␣a⏎", "id 7", "∅"]
    assert [number(v) for v in (0.12345, 1e-5, 0.0, None, float("nan"))] == [
        "0.123",
        "1.0e-05",
        "0.000",
        "–",
        "–",
    ]
    assert [share(v) for v in (0.5, 0.0161, 2e-4, 0.0, None)] == ["50 %", "1.6 %", "0.02 %", "0 %", "–"]
    assert interval_text((1.0, 2.0), 1) == "1.0 to 2.0"
    assert interval_text(None) == ""
    assert stroke(method_style("placebo")).startswith("repeating-linear-gradient")
    assert Tile("a", "b").course == ()


def test_a_long_band_is_thinned_and_covers_the_whole_one() -> None:
    x = np.arange(5000.0)
    low, high = -1 - np.abs(np.sin(x)), 1 + np.abs(np.cos(x))
    high[1234], low[4321] = 9.0, -9.0
    figure = look.empty_figure()
    look.add_band(figure, x, low, high, "#112233")
    outline = figure.data[0]
    assert len(outline.x) <= look.MAX_POINTS
    assert max(outline.y) == 9.0
    assert min(outline.y) == -9.0


def test_points_to_click_lie_on_the_lines_and_stay_out_of_the_download() -> None:
    figure = look.empty_figure()
    look.add_line(figure, np.arange(900), np.arange(900.0), Style("#112233"), "a run")
    bare = look._csv(figure, None)
    look._make_pickable(figure)
    assert figure.data[1].mode == "markers"
    assert figure.data[1].y[-1] > 880
    assert look._csv(figure, None) == bare


def test_an_entropy_that_a_trainer_evaluates_is_no_performance():
    assert metric_names.performances(["entropy", "reward", "accuracy"]) == ["accuracy", "reward"]
    units = [metric_names.unit(m) for m in ("entropy", "reward", "pass@8", "accuracy_greedy")]
    assert units == ["nats", "", "share of problems", "share of problems"]
