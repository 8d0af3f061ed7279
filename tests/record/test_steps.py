"""The exact summary: against plain Python sums, over updates, and where values are missing or broken."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import entropylab as el
from entropylab.schema import SUMMARY_COLUMNS


def write(path, records, **settings):
    """Records: (step, keywords of record)."""
    with el.Recorder(path, **settings) as recorder:
        for step, given in records:
            recorder.record(step, **given)
    return el.open_run(path)


def check_row(row: pd.Series, expected: dict[str, float]) -> None:
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-9, abs=1e-12), name


def test_every_column_of_an_update_equals_plain_sums(tmp_path, batch, reference):
    pieces = [[batch(10 * u + m, update=u, micro_step=m) for m in range(3)] for u in range(2)]
    run = write(tmp_path / "r", [(4, b) for update in pieces for b in update])
    frame = run.steps(by="update")
    assert list(frame["update"]) == [0, 1]
    for u in range(2):
        expected = reference(pieces[u])
        check_row(frame.iloc[u], expected)
        identity = {"step", "update", "n_updates", "n_ranks", "recorded_at"}
        assert set(expected) | identity == {c.name for c in SUMMARY_COLUMNS}
    assert run.problems() == []


def test_a_step_is_the_union_of_its_updates(tmp_path, batch, reference):
    updates = [batch(u, rows=6 + 5 * u, update=u) for u in range(3)]
    row = write(tmp_path / "r", [(0, b) for b in updates]).steps().iloc[0]
    expected = reference(updates)
    parts = [reference([b]) for b in updates]
    for name in expected:  # a token is high or low within its own update
        if name.split("_")[0] in ("count", "mass") or name.startswith(("selected_count_", "selected_mass_")):
            expected[name] = sum(part[name] for part in parts)
    check_row(row, expected)
    assert row["n_updates"] == 3


def test_without_a_loss_the_covariance_is_centred_over_all_micro_steps(tmp_path, batch):
    pieces = [batch(m, out=None, micro_step=m) for m in range(3)]
    run = write(tmp_path / "r", [(0, b) for b in pieces])
    l = np.concatenate([b["logprobs"][b["mask"]] for b in pieces]).astype(np.float64)
    a = [np.broadcast_to(b["advantages"][:, None], b["mask"].shape)[b["mask"]] for b in pieces]
    a = np.concatenate(a).astype(np.float64)
    expected = (l - l.mean()) * (a - a.mean())
    stored = np.concatenate([x["covariance"].to_numpy() for x in run.tokens()])
    np.testing.assert_array_equal(stored, expected.astype(np.float32))
    assert run.steps()["covariance_mean"][0] == pytest.approx(np.cov(l, a, bias=True)[0, 1], rel=1e-5)
    assert run.info["covariance_set"] == "update"
    assert run.steps()[["selected_count", "selected_fraction"]].to_numpy().tolist() == [[0, 0]]


def test_columns_types_and_metrics(tmp_path, batch):
    records = [(s, batch(s, metrics={"loss": s + 0.5, "lr": np.float32(0.25)})) for s in range(3)]
    frame = write(tmp_path / "r", records).steps()
    names = [c.name for c in SUMMARY_COLUMNS if c.name != "update"]
    assert list(frame.columns) == [*names, "metrics/loss", "metrics/lr"]
    assert frame["metrics/loss"].tolist() == [0.5, 1.5, 2.5]
    assert frame["metrics/lr"].tolist() == [0.25] * 3
    assert frame["step"].dtype == frame["n_tokens"].dtype == np.int64
    assert frame["recorded_at"].is_monotonic_increasing
    assert str(frame["recorded_at"].dt.tz) == "UTC"


def test_metrics_are_means_over_micro_steps_that_gave_them(tmp_path, batch):
    given = [{"loss": 1.0}, {"loss": 3.0, "grad_norm": 7.0}]
    records = [(0, batch(m, micro_step=m, metrics=given[m])) for m in range(2)]
    frame = write(tmp_path / "r", records).steps()
    assert frame.loc[0, ["metrics/loss", "metrics/grad_norm"]].tolist() == [2.0, 7.0]


def test_a_run_without_steps_has_empty_frames(tmp_path):
    run = write(tmp_path / "r", [])
    assert run.steps().empty
    assert list(run.steps(by="update").columns) == [c.name for c in SUMMARY_COLUMNS]
    assert list(run.evaluations().columns) == ["step", "split", "metric", "value", "n"]
    assert run.token_steps() == []
    assert list(run.tokens()) == []
    assert run.problems() == []


def test_what_was_not_recorded_is_null_not_zero(tmp_path, batch):
    bare = {k: v for k, v in batch(0, out=None).items() if k in ("out", "logprobs", "advantages", "mask")}
    row = write(tmp_path / "r", [(0, bare)]).steps().iloc[0]
    null = [
        "entropy_token_mean",
        "entropy_response_mean",
        "ratio_mean",
        "ratio_max",
        "clipped_fraction",
        "kl_k1",
    ]
    null += ["kl_ref_k3", "reward_mean", "reward_std", "selected_covariance_mean", "entropy_after_token_mean"]
    assert row[null].isna().all()
    assert row["n_tokens"] == batch(0)["mask"].sum()


def test_entropy_of_half_the_micro_steps_is_no_entropy_of_the_update(tmp_path, batch):
    row = write(tmp_path / "r", [(0, batch(0)), (0, batch(1, micro_step=1, entropy=None))]).steps().iloc[0]
    assert np.isnan(row["entropy_token_mean"])
    assert row["nonfinite_count"] == 0
    assert np.isfinite(row["reward_mean"])


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["rewards", "logprobs", "entropy", "old_logprobs", "advantages"])
def test_values_that_are_not_finite_are_counted_and_their_statistics_null(tmp_path, batch, name, value):
    broken = batch(0)
    broken[name][3, ...] = value if name in ("rewards", "advantages") else broken[name][3]
    if name not in ("rewards", "advantages"):
        broken[name][3, 0] = value
    run = write(tmp_path / "r", [(0, batch(5)), (1, broken)])
    row = run.steps().iloc[1]
    touched = {
        "rewards": ["reward_mean", "reward_std"],
        "logprobs": ["logprob_mean", "logprob_kurtosis", "kl_k1", "count_high_above"],
        "entropy": ["entropy_token_mean", "entropy_response_mean"],
        "old_logprobs": ["kl_k1", "kl_k3"],
        "advantages": ["advantage_mean", "mass_low_below"],
    }[name]
    assert row[touched].isna().all()
    assert row["nonfinite_count"] == (broken["mask"][3].sum() if name == "advantages" else 1)
    assert np.isfinite(row["covariance_mean"])
    assert [(p.kind, "step 1" in p.message) for p in run.problems()] == [("nonfinite_values", True)]


def test_a_broken_metric_is_null_and_counted(tmp_path, batch):
    run = write(tmp_path / "r", [(0, batch(0, metrics={"loss": float("nan")}))])
    assert run.steps()["metrics/loss"].isna().all()
    assert run.steps()["nonfinite_count"].tolist() == [1]
    assert [p.kind for p in run.problems()] == ["nonfinite_values"]


def test_an_empty_micro_step_beside_a_full_one_is_fine(tmp_path, batch, reference):
    full, empty = batch(0), batch(1, micro_step=1)
    empty["mask"] = np.zeros_like(empty["mask"])
    run = write(tmp_path / "r", [(0, full), (0, empty)])
    check_row(run.steps().iloc[0], reference([full]))
    assert run.problems() == []


def test_an_update_without_any_token_is_told(tmp_path, batch):
    empty = batch(1, update=1)
    empty["mask"] = np.zeros_like(empty["mask"])
    run = write(tmp_path / "r", [(0, batch(0)), (0, empty), (1, {**empty, "update": 0, "out": None})])
    assert run.steps(by="update")["n_tokens"].tolist() == [batch(0)["mask"].sum(), 0, 0]
    assert (
        run.steps(by="update")
        .loc[1, ["logprob_mean", "top_mean_0.2", "reward_mean", "selected_fraction"]]
        .isna()
        .all()
    )
    assert [p.kind for p in run.problems()] == ["empty_update", "empty_update"]
    assert "step 0, update 1" in run.problems()[0].message
    assert run.token_steps() == [0]


def test_log_ratios_are_clamped_so_that_one_token_cannot_give_infinity(tmp_path, batch):
    wild = batch(0)
    del wild["out"].tokens["ratio"]
    wild["old_logprobs"] = wild["logprobs"] - np.float32(500.0)
    row = write(tmp_path / "r", [(0, wild)]).steps().iloc[0]
    assert row["ratio_max"] == pytest.approx(np.exp(20.0))
    assert row["kl_k1"] == pytest.approx(-500.0)
    assert np.isfinite(row["kl_k3"])


def test_unknown_grouping_is_refused(tmp_path, batch):
    with pytest.raises(el.EntropylabError, match="'step' or 'update'"):
        write(tmp_path / "r", [(0, batch(0))]).steps(by="epoch")
