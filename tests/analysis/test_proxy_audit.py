"""The audit of proxies against figures by hand and logs whose answer is known."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

import entropylab as el
from entropylab.analysis.proxy_audit import CAUTION, CONTROL, ProxyAudit
from entropylab.analysis.proxy_rankings import (
    FIGURES,
    PREDICTIONS,
    chosen_parts,
    influence_steps,
    pooled,
    predictions_of,
    ranked_figures,
)
from entropylab.analysis.proxy_tables import proxy_table, set_figures
from entropylab.errors import InsufficientDataError, InvalidInputError

B, T = 24, 30


def write(folder, influence_of, *, steps=6, every=2, seed=0, entropy=True) -> el.Run:
    """A log of ``steps`` steps of two updates; every other step with influence."""
    rng = np.random.default_rng(seed)
    mask = np.ones((B, T), bool)
    with el.Recorder(folder, method="clip_cov") as recorder:
        for step in range(steps):
            for update in range(2):
                logprobs = -rng.exponential(0.8, (B, T)).astype(np.float32)
                advantages = rng.normal(size=B).astype(np.float32)
                given = {"logprobs": logprobs, "advantages": advantages, "mask": mask}
                given["entropy"] = rng.exponential(0.5, (B, T)).astype(np.float32) if entropy else None
                covariance = (logprobs - logprobs.mean()) * (advantages - advantages.mean())[:, None]
                selected = covariance >= np.sort(covariance.ravel())[-7]
                out = SimpleNamespace(tokens={"covariance": covariance, "selected": selected})
                tokens = {
                    n: np.broadcast_to(x.reshape(B, -1), (B, T)) for n, x in given.items() if x is not None
                }
                made = influence_of(tokens | {"covariance": covariance}, rng) if step % every == 0 else None
                recorder.record(
                    step, out, **given, influence=made, update=update, prompt_ids=np.arange(B) // 4
                )
    return el.open_run(folder)


def test_what_ranks_perfectly_captures_all(tmp_path):
    run = write(tmp_path / "r", lambda t, rng: -1e-4 * t["covariance"])
    found = el.audit_proxies(run)
    rows = found.proxies.set_index("proxy")
    assert rows.loc["covariance", ["spearman", "overlap", "capture"]].tolist() == pytest.approx([1, 1, 1])
    assert rows.loc["covariance", "raises"] == 0
    assert rows.loc[CONTROL, "capture"] == pytest.approx(1)
    assert (found.steps, found.n_sets, found.n_tokens) == ((0, 2, 4), 6, 6 * B * T)
    assert CAUTION in found.summary()
    share = found.quadrants.set_index("quadrant")
    np.testing.assert_allclose(share["influence"], share["covariance"])


def test_chance_captures_nothing_on_average(tmp_path):
    run = write(tmp_path / "r", lambda t, rng: rng.normal(size=(B, T)), steps=20)
    rows = el.audit_proxies(run).proxies.set_index("proxy")
    for name in PREDICTIONS:
        assert rows.loc[name, "spearman_low"] < 0 < rows.loc[name, "spearman_high"]
        assert rows.loc[name, "capture"] == pytest.approx(0, abs=0.1)
        assert rows.loc[name, "raises"] == pytest.approx(0.5, abs=0.12)


def test_figures_by_hand():
    influence = np.array([-5.0, -3.0, 2.0, -1.0, 0.0, 1.0])
    chosen = np.array([True, False, True, False, False, False])
    found = dict(zip(FIGURES, pooled([chosen_parts(influence, chosen)]), strict=True))
    assert found["overlap"] == 0.5
    assert found["capture"] == pytest.approx(-3 / -8)
    assert found["raises"] == 0.5
    assert found["saved"] == pytest.approx(3 / 9)


def test_over_several_sets_each_counts_alike_and_no_small_effect_stands_out():
    """The second set hardly lowers H, and its choice raises it by ten times as much: -10 as a quotient."""
    first, second = np.array([-5.0, -3.0, 2.0, -1.0]), np.array([-0.001, 0.01, 0.0, 0.002])
    chosen = np.array([False, True, False, False])
    sets = [chosen_parts(x, chosen) for x in (first, 1e6 * second)]
    found = dict(zip(FIGURES, pooled(sets), strict=True))
    assert found["capture"] == pytest.approx((-3 / 11 + 10 / 13) / (-5 / 11 - 1 / 13))
    assert found["saved"] == pytest.approx((3 / 11 - 10 / 13) / (9 / 11 + 1 / 13))
    assert found["raises"] == found["overlap"] + 0.5 == 0.5


def test_rank_correlation_is_spearmans():
    rng = np.random.default_rng(1)
    names = ["logprob", "entropy", "advantage", "covariance", "influence"]
    frame = pd.DataFrame(rng.normal(size=(300, 5)).round(1), columns=names)
    found = ranked_figures(frame["influence"].to_numpy(), predictions_of(frame), 0.05)
    for row, predict in zip(found, PREDICTIONS.values(), strict=True):
        expected = spearmanr(predict(frame), frame["influence"]).statistic
        assert row[list(FIGURES).index("spearman")] == pytest.approx(expected, abs=1e-12)


def test_groups_and_intervals(tmp_path):
    run = write(tmp_path / "r", lambda t, rng: -t["covariance"] + 0.5 * rng.normal(size=(B, T)), steps=12)
    found = el.audit_proxies(run, fraction=0.05)
    assert set(found.groups["by"]) == {"training", "quadrant", "entropy"}
    assert len(found.groups) == len(PREDICTIONS) * (3 + 4 + 4)
    assert found.groups["spearman"].between(-1, 1).all()
    assert (found.groups["capture_low"] < found.groups["capture_high"]).all()
    row = found.proxies.set_index("proxy").loc["covariance"]
    assert 0 < row["spearman_low"] < row["spearman"] < row["spearman_high"] < 1
    assert row["spearman_high"] - row["spearman_low"] < 0.2


def test_each_step_alone_is_an_audit_of_that_step(tmp_path):
    run = write(tmp_path / "r", lambda t, rng: -t["covariance"] + 0.5 * rng.normal(size=(B, T)))
    found = el.audit_proxies(run).by_step
    assert found["step"].unique().tolist() == list(influence_steps(run)) == [0, 2, 4]
    alone = el.audit_proxies(run, steps=2).proxies
    rows = found[found["step"] == 2].drop(columns="step").reset_index(drop=True)
    pd.testing.assert_frame_equal(rows, alone)


def test_one_prompt_has_no_interval_and_an_influence_of_zero_no_best_choice():
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(40, 4)))
    frame.columns = ["logprob", "entropy", "advantage", "covariance"]
    frame = frame.assign(influence=0.0, selected=False, step=0, prompt_id=0, sample_id=0)
    rows = proxy_table([set_figures(frame, 0.1)], 0.95)
    assert rows["proxy"].tolist() == list(PREDICTIONS)
    assert rows[["capture", "spearman", "raises_low"]].isna().all(axis=None)
    assert rows["raises"].tolist() == [0.0] * 4
    told = ProxyAudit("r", "m", (0,), 40, 1, 0.1, rows, rows, rows, rows).summary()
    assert "no best choice" in told
    assert "nan" not in told


def test_without_entropies_only_the_covariance_is_ranked(tmp_path):
    run = write(tmp_path / "r", lambda t, rng: -t["covariance"], entropy=False)
    found = el.audit_proxies(run)
    assert set(found.proxies["proxy"]) == {"covariance", CONTROL}
    assert any("entropies are not recorded" in w for w in found.warnings)
    assert "capture" in found.groups


def test_a_log_without_influence_and_wrong_use_are_named(make_run, tmp_path):
    run = make_run(tmp_path / "r", steps=2)
    with pytest.raises(InsufficientDataError, match="influence_every"):
        el.audit_proxies(run)
    with pytest.raises(InvalidInputError, match="fraction is 0"):
        el.audit_proxies(run, fraction=0)


def test_the_picture_shows_every_quantity(tmp_path):
    run = write(tmp_path / "r", lambda t, rng: -t["covariance"])
    ax = el.audit_proxies(run).plot()
    assert {label.get_text() for label in ax.get_yticklabels()} == {*PREDICTIONS, CONTROL}
