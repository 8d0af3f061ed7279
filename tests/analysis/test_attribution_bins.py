"""Enrichment in bins and prompts by hand, its level, and the false discovery rate."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import entropylab as el
from entropylab.analysis.attribution import SELECTED, TAIL
from entropylab.analysis.attribution_bins import (
    _DECILES,
    bin_table,
    decile_places,
    prompt_table,
    top_prompts_share,
)
from entropylab.analysis.attribution_tables import enrichment


@pytest.fixture(scope="module")
def found(make_run, tmp_path_factory):
    return el.attribute(make_run(tmp_path_factory.mktemp("bins") / "r", steps=8, prompts=24))


def _frame(n=4000, seed=0):
    rng = np.random.default_rng(seed)
    probability = rng.beta(2, 1, n)
    return pd.DataFrame(
        {
            "step": np.repeat([0, 1], n // 2),
            "prompt_id": np.repeat(np.arange(n // 20), 20),
            "prompt": np.repeat(np.arange(n // 20), 20),
            "logprob": np.log(probability),
            "entropy": rng.exponential(size=n),
        }
    )


def test_bins_by_hand():
    frame = _frame()
    p = np.exp(frame["logprob"].to_numpy())
    mask = np.random.default_rng(1).random(len(p)) < 0.3 * (1 - p)
    table = bin_table(frame, {"set": mask}, 0.95)
    rows = table[table["quantity"] == "probability"]
    for row in rows.itertuples():
        here = (p > row.bin_low) & (p <= row.bin_high)
        assert row.count == (here & mask).sum()
        assert row.enrichment == pytest.approx((here & mask).sum() / mask.sum() / here.mean())
    assert rows["share"].sum() == pytest.approx(1)
    assert rows.iloc[0]["enrichment"] > 1 > rows.iloc[-1]["enrichment"]
    deciles = table[table["quantity"] == "entropy"]
    assert len(deciles) == 10
    assert deciles["share_all"].to_numpy() == pytest.approx(np.full(10, 0.1), abs=1e-3)


@pytest.mark.parametrize("n", [1, 2, 9, 10, 11, 99, 100, 12_345])
def test_the_places_of_deciles_are_those_of_numpy(n):
    values = np.arange(n)
    assert decile_places(n).tolist() == np.quantile(values, _DECILES, method="inverted_cdf").tolist()


def test_entropy_that_is_not_recorded_has_no_bins():
    frame = _frame().assign(entropy=np.nan)
    table = bin_table(frame, {"set": np.arange(len(frame)) < 500}, 0.95)
    assert set(table["quantity"]) == {"probability"}


def test_weighted_rows_count_as_their_tokens():
    frame, rng = _frame(1000), np.random.default_rng(3)
    weights, mask = rng.integers(1, 4, 1000), rng.random(1000) < 0.2
    whole = frame.loc[np.repeat(frame.index, weights)].reset_index(drop=True)
    one = bin_table(frame, {"set": mask}, 0.95, weights.astype(float))
    two = bin_table(whole, {"set": np.repeat(mask, weights)}, 0.95)
    np.testing.assert_allclose(one[["count", "share", "share_all"]], two[["count", "share", "share_all"]])
    np.testing.assert_allclose(one["low"], two["low"], rtol=1e-9)


def test_the_level_of_an_enrichment_with_clusters():
    rng, inside = np.random.default_rng(4), 0
    for _ in range(200):
        clusters = np.repeat(np.arange(80), 25)
        kind = rng.random(2000) < np.repeat(rng.beta(2, 8, 80), 25)
        row = enrichment(kind, rng.random(2000) < 0.15, clusters, 0.95, np.ones(2000))
        inside += row["low"] <= 1 <= row["high"]
    assert inside / 200 >= 0.87


def test_prompts_by_hand():
    frame = _frame(200)
    mask = frame["prompt"].to_numpy() == 3
    table = prompt_table(frame, {"set": mask})
    assert (table.loc[0, "prompt_id"], table.loc[0, "set"], table["tokens"].sum()) == (3, 20, 200)
    assert top_prompts_share(table, "set") == 1.0
    assert np.isnan(top_prompts_share(prompt_table(frame, {"set": mask & False}), "set"))


def test_the_report_has_them(found):
    assert set(found.bins["set"]) == {SELECTED, TAIL}
    assert found.prompts["tokens"].sum() == found.n
    assert found.prompts[SELECTED].sum() == found.n_selected
    assert (found.tokens["q"].dropna() >= found.tokens["p"].dropna() - 1e-12).all()
    assert "A tenth of the prompts" in found.summary()
