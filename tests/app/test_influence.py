"""The page Influence on real runs of the lab: it shows the audit, its caution, and what a run lacks."""

from __future__ import annotations

from html import unescape

import influence_charts
import numpy as np
import pandas as pd
import pytest
from influence_charts import Series

import entropylab as el
from entropylab.analysis.proxy_audit import CONTROL, COVARIANCE, EXPERIMENT, ProxyAudit
from entropylab.plots.style import Style

CHARTS = 5


@pytest.fixture(scope="module")
def audit(influence_runs) -> ProxyAudit:
    return el.audit_proxies(el.open_run(influence_runs / "clip_cov"))


@pytest.fixture
def page(open_app, influence_runs):
    return open_app(influence_runs).go("influence")


def said(page) -> str:
    return unescape(page.html).replace("\u00a0", " ")


def test_the_page_opens_with_the_audit_and_its_caution(page, audit) -> None:
    assert page.exceptions == []
    assert page.sentences == []
    assert page.charts == CHARTS
    counted, covariance, best, control, _ = audit.summary().splitlines()
    assert f"clip_cov: {covariance}" in said(page)
    assert all(line in said(page) for line in (counted, best, control, "A diagnostic, not a better control"))
    assert EXPERIMENT in said(page)


def test_the_table_has_every_figure_with_its_interval_of_both_runs(page, audit) -> None:
    table = page.test.dataframe[0].value
    assert table["run"].unique().tolist() == ["clip_cov", "baseline"]
    row = audit.proxies.set_index("proxy").loc[COVARIANCE]
    shown = table.iloc[0]
    assert shown["ranked by"] == COVARIANCE
    for name, form in (("spearman", "{:.2f}"), ("capture", "{:.2f}")):
        parts = [form.format(row[key]) for key in (name, f"{name}_low", f"{name}_high")]
        assert shown[name] == f"{parts[0]} ({parts[1]} to {parts[2]})"
    assert shown["raises"].startswith(f"{100 * row['raises']:.0f} % (")
    assert table.loc[table["ranked by"] == CONTROL, "spearman"].isna().all()


def test_the_strongest_tokens_are_those_of_the_log(page, influence_runs) -> None:
    run = el.open_run(influence_runs / "clip_cov")
    tokens = pd.concat(batch.to_pandas() for batch in run.tokens([0]))
    shown = page.test.dataframe[-1].value
    assert shown["influence"].iloc[0] == pytest.approx(tokens["influence"].min())
    assert (np.diff(shown["influence"]) >= 0).all()
    page.test.segmented_control(key="influence_end").set_value("raise H most").run()
    shown = page.test.dataframe[-1].value
    assert shown["influence"].iloc[0] == pytest.approx(tokens["influence"].max())
    page.test.select_slider(key="influence_step").set_value(8).run()
    assert page.exceptions == []
    assert any("of step 8" in text.value for text in page.test.caption)


def test_figure_quantity_and_fraction_are_chosen(page, influence_runs) -> None:
    page.test.selectbox(key="chosen_share").set_value(0.1).run()
    found = el.audit_proxies(el.open_run(influence_runs / "clip_cov"), fraction=0.1)
    assert found.summary().splitlines()[1] in said(page)
    page.test.selectbox(key="audit_figure").set_value("raises").run()
    page.test.selectbox(key="ranked_by").set_value(CONTROL).run()
    assert page.exceptions == []
    page.test.selectbox(key="audit_figure").set_value("spearman").run()
    assert page.exceptions == []
    assert page.test.selectbox(key="ranked_by").value == COVARIANCE
    assert page.charts == CHARTS


def test_runs_without_influence_are_named_beside_those_that_hold_it(
    open_app, make_run, influence_runs, tmp_path
) -> None:
    make_run(tmp_path / "bare" / "plain-run", steps=1, prompts=4)
    query = {"runs": ["plain-run", "baseline"]}
    page = open_app(tmp_path / "bare", influence_runs, query=query).go("influence")
    assert page.exceptions == []
    assert page.charts == CHARTS
    assert page.test.selectbox(key="run").options == ["baseline"]
    assert any("not shown: plain-run" in text.value for text in page.test.caption)
    assert not [box for box in page.test.selectbox if box.key == "ranked_by"]


def test_a_sample_of_the_tokens_without_ids_entropies_and_prompts_is_shown(open_app, tmp_path) -> None:
    rng = np.random.default_rng(0)
    sampling = el.TokenSampling(token_fraction=0.4, tail_fraction=0.1)
    with el.Recorder(tmp_path / "sample", token_sampling=sampling) as recorder:
        given = {"logprobs": -rng.exponential(size=(6, 40)), "advantages": rng.normal(size=6)}
        recorder.record(3, **given, mask=np.ones((6, 40), bool), influence=rng.normal(size=(6, 40)))
    page = open_app(tmp_path).go("influence")
    assert page.exceptions == []
    assert page.charts == CHARTS - 1
    assert "the log holds a sample of the tokens" in said(page)
    assert page.test.dataframe[-1].value["token"].unique().tolist() == ["not recorded"]
    captions = [text.value for text in page.test.caption]
    assert "Step 3, the only one with influence" in captions
    assert any("quarters of each update: not recorded" in text for text in captions)


def test_dots_stand_at_the_figures_and_far_below_at_the_edge(audit) -> None:
    rows = audit.proxies.assign(capture_low=-50.0)
    figure = influence_charts.proxies_figure([Series("r", Style("#112233"), rows)], "capture")
    (dots,) = figure.data
    assert list(dots.x) == rows["capture"].tolist()
    assert dots.x[0] - dots.error_x.arrayminus[0] == pytest.approx(influence_charts.LOWEST)
    assert list(figure.layout.yaxis.ticktext) == rows["proxy"].tolist()
    assert list(dots.y) == sorted(dots.y, reverse=True)


def test_the_course_bands_the_covariance_beside_others(audit) -> None:
    series = influence_charts.by_proxy(audit, audit.by_step, Style("#112233"))
    figure = influence_charts.course_figure(series, "capture", "t")
    lines = [trace for trace in figure.data if trace.mode == "lines+markers"]
    assert [line.name for line in lines] == audit.proxies["proxy"].tolist()
    assert len(figure.data) == len(lines) + 1
    assert len({(line.line.color, line.line.dash) for line in lines}) == len(lines)
