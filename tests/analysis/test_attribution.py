from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import entropylab as el
from entropylab.analysis.attribution import attribute
from entropylab.analysis.attribution_tables import position_table, share_interval, token_table
from entropylab.schema import QUADRANTS


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("who") / "clip", method="clip_cov", steps=8)


@pytest.fixture(scope="module")
def result(run):
    return attribute(run)


def test_selected_tokens_agree_with_the_summaries(run, result):
    steps = run.steps()
    selected = result.quadrants[result.quadrants["set"] == "selected"].set_index("quadrant")
    assert result.n_selected == steps["selected_count"].sum() > 0
    assert result.selected_share == pytest.approx(result.n_selected / steps["n_tokens"].sum())
    for name in QUADRANTS:
        assert selected.loc[name, "count"] == steps[f"selected_count_{name}"].sum()
        assert selected.loc[name, "mass"] == pytest.approx(steps[f"selected_mass_{name}"].sum(), rel=1e-4)


def test_sets_are_whole(result):
    sizes = result.quadrants.groupby("set")["count"].sum()
    assert sizes["all"] == result.n
    assert sizes["top 2 %"] == result.n_tail == int(np.ceil(0.02 * result.n))
    for name in ("all", "selected", "top 2 %"):
        assert result.positions[name].sum() == sizes[name]
        assert result.positions[f"{name} share"].sum() == pytest.approx(1)
    bounds = result.quadrants[["share_low", "share", "share_high"]].to_numpy()
    assert (np.diff(bounds, axis=1) >= 0).all()


def test_token_strings_come_from_the_vocabulary(run, result):
    vocabulary = run.config["vocabulary"]
    assert all(vocabulary[r.token_id] == r.token for r in result.tokens.itertuples())
    end = result.tokens[(result.tokens["set"] == "top 2 %") & (result.tokens["token"] == "<end>")].iloc[0]
    assert end["low"] > 1, "the rare <end> is enriched in the tail of this task"


def test_probabilities_of_the_tail_are_low(result):
    table = result.probability.set_index("set")
    assert table.loc["top 2 %", "probability_median"] < 0.5 * table.loc["all", "probability_median"]
    assert table.loc["all", "n"] == result.n


def test_nothing_selected_is_said_plainly(make_run, tmp_path):
    found = attribute(make_run(tmp_path / "base", method="baseline", steps=3))
    assert found.n_selected == 0
    assert "No token was selected (method baseline)." in found.summary()
    assert "no token was selected" in found.warnings[0]
    assert found.quadrants[found.quadrants["set"] == "selected"]["share"].isna().all()
    json.dumps(found.to_dict(), allow_nan=False)


def test_summary_and_json(result):
    first = result.summary().splitlines()[0]
    share = result.quadrants.set_index(["set", "quadrant"]).loc[("top 2 %", "low_below"), "share"]
    assert first.startswith(f"{100 * share:.0f} % (")
    assert "%) of the tokens of highest covariance (top 2 %) are of low probability and below" in first
    plain = json.loads(json.dumps(result.to_dict(), allow_nan=False))
    assert plain["n_selected"] == result.n_selected
    assert plain["tokens"][0].keys() >= {"token", "enrichment", "low", "high"}
    assert el.attribute is attribute


def token_frame(ids, prompts):
    return pd.DataFrame({"token_id": ids, "prompt": prompts})


def test_enrichment_by_hand():
    frame = token_frame([1, 1, 2, 2, 2, 2, 2, 2], np.arange(8))
    mask = np.array([True, True, True, False, False, False, False, True])
    table = token_table(frame, {"selected": mask}, None, 0.95).set_index("token_id")
    assert table.loc[1, ["count", "share", "share_all", "enrichment"]].tolist() == [2, 0.5, 0.25, 2]
    assert table.loc[2, "enrichment"] == pytest.approx(0.5 / 0.75)
    assert table["low"].isna().all(), "fewer than 5 tokens have no interval"
    assert table["token"].isna().all()


def test_enrichment_interval_covers_and_widens_with_clusters():
    rng = np.random.default_rng(0)
    covered, widths = 0, []
    for _ in range(200):
        mask, ids = rng.random(2000) < 0.1, (rng.random(2000) < 0.3).astype(float)
        row = (
            token_table(token_frame(ids, np.arange(2000)), {"s": mask}, None, 0.95)
            .set_index("token_id")
            .loc[1]
        )
        covered += row["low"] <= 1 <= row["high"]
        together = np.repeat(rng.random(200) < 0.3, 10).astype(float)
        marked = np.repeat(rng.random(200) < 0.1, 10)
        wide = token_table(token_frame(together, np.repeat(np.arange(200), 10)), {"s": marked}, None, 0.95)
        chosen = wide[wide["token_id"] == 1]
        widths += (
            [np.log(chosen["high"] / chosen["low"]).iloc[0] / np.log(row["high"] / row["low"])]
            if len(chosen)
            else []
        )
    assert 0.9 <= covered / 200 <= 0.985
    assert np.nanmedian(widths) > 2


def test_share_interval_is_wilson_for_single_tokens():
    inside = np.arange(50) < 10
    low, high = share_interval(inside, np.arange(50), 0.95)
    assert (low, high) == pytest.approx((0.112, 0.330), abs=0.004)
    low, high = share_interval(np.ones(40, dtype=bool), np.arange(40) // 4, 0.95)
    assert high == pytest.approx(1)
    assert low == pytest.approx(1 / (1 + 1.96**2 / 10), abs=1e-3), "as many as there are clusters"


def test_positions_fall_into_at_most_twenty_bins():
    table = position_table(np.array([0, 1, 44, 44]), {"all": np.ones(4, dtype=bool)})
    assert len(table) <= 20
    assert (table["first"].iloc[0], table["last"].iloc[-1]) == (0, 44)
    assert table["all"].tolist()[0] == 2
    assert table["all"].sum() == 4
    short = position_table(np.array([0, 1, 2]), {"all": np.ones(3, dtype=bool)})
    assert short["first"].tolist() == short["last"].tolist() == [0, 1, 2]
