"""A replayed control chooses what it chose, and inside micro-batches what plain loops choose."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.errors import InsufficientDataError, InvalidInputError, UnknownNameError
from entropylab.losses.settings import to_dict

CLIP = el.ClipCov(fraction=0.05, low=0.2, high=4.0)
KL = el.KLCov(fraction=0.05)


@pytest.fixture(scope="module")
def run(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("replay") / "r", method="clip_cov", steps=6, prompts=12, group=4)


@pytest.fixture(scope="module")
def updates(run):
    frame = pa.Table.from_batches(list(run.tokens())).to_pandas()
    return [rows for _, rows in frame.groupby(["step", "update"])]


def test_the_top_of_each_update(run, updates):
    found = el.replay(run, KL, micro_batches=())
    expected = 0
    for row, rows in zip(found.updates.itertuples(), updates, strict=True):
        k = max(1, int(0.05 * len(rows)))
        top = rows.sort_values(["covariance", "sample_id", "position"], ascending=[False, True, True])[:k]
        assert row.chosen == k
        assert row.both == int(top["selected"].sum())
        mass = np.maximum(rows["covariance"].to_numpy(np.float64), 0).sum()
        held = np.maximum(top["covariance"], 0).sum()
        assert row.mass_removed == pytest.approx(held / mass if mass else np.nan, rel=1e-5, nan_ok=True)
        expected += k
    assert found.n_chosen == expected
    assert found.n_tokens == sum(map(len, updates))
    assert sum(found.quadrants.values()) == expected


@pytest.mark.parametrize("size", [1, 5, 9])
def test_micro_batches_by_plain_loops(run, updates, size):
    found = el.replay(run, KL, micro_batches=[size]).pieces.iloc[0]
    chosen = both = whole = 0
    for rows in updates:
        k = max(1, int(0.05 * len(rows)))
        order = rows.sort_values(["covariance", "sample_id", "position"], ascending=[False, True, True])
        top = set(zip(order["sample_id"][:k], order["position"][:k], strict=True))
        samples = list(dict.fromkeys(rows["sample_id"]))
        inside = set()
        for start in range(0, len(samples), size):
            part = rows[rows["sample_id"].isin(samples[start : start + size])]
            l, a = (part[c].to_numpy(np.float64) for c in ("logprob", "advantage"))
            part = part.assign(c=(l - l.mean()) * (a - a.mean()))
            part = part.sort_values(["c", "sample_id", "position"], ascending=[False, True, True])
            n = max(1, int(0.05 * len(part)))
            inside |= set(zip(part["sample_id"][:n], part["position"][:n], strict=True))
        chosen, both, whole = chosen + len(inside), both + len(inside & top), whole + k
    assert found["chosen"] == chosen
    assert found["overlap"] == pytest.approx(both / whole)
    assert found["extra"] == pytest.approx(1 - both / chosen)


def test_a_micro_batch_of_all_responses_is_left_out(run):
    found = el.replay(run, KL, micro_batches=(48, 10_000))
    assert found.pieces.empty or found.pieces["responses"].max() < 48


def test_its_own_control_chooses_what_it_chose(tmp_path):
    """Through the real loss and recorder: band and hash, ratio clip and ties included."""
    torch = pytest.importorskip("torch")
    g = torch.Generator().manual_seed(0)
    path = tmp_path / "run"
    with el.Recorder(path, config={"control": to_dict(CLIP), "seed": 11}) as recorder:
        for step in range(3):
            old = -torch.rand(24, 40, generator=g).mul(2).square()
            logprobs = old + 0.2 * torch.randn(24, 40, generator=g)
            columns = {
                "logprobs": logprobs,
                "old_logprobs": old,
                "advantages": torch.randn(24, generator=g),
                "mask": torch.arange(40) < torch.randint(5, 41, (24, 1), generator=g),
            }
            ids = 100 * step + torch.arange(24)
            out = el.policy_loss(**columns, control=CLIP, sample_ids=ids, seed=11, step=step)
            recorder.record(step, out, **columns, sample_ids=ids)
    found = el.replay(el.open_run(path), CLIP)
    assert found.overlap == 1.0
    assert found.n_chosen == found.n_selected > 0
    other = el.replay(el.open_run(path), CLIP, seed=12)
    assert other.n_chosen == found.n_chosen
    assert other.overlap < 1.0
    assert any("other tokens" in text for text in other.warnings)


def test_old_logprobs_have_their_own_covariance(run, updates):
    found = el.replay(run, el.KLCov(fraction=0.05, covariance_on="old"), micro_batches=())
    rows = updates[-1]
    l, a = (rows[c].to_numpy(np.float64) for c in ("old_logprob", "advantage"))
    c = (l - l.mean()) * (a - a.mean())
    k = max(1, int(0.05 * len(rows)))
    expected = np.sort(np.maximum(c, 0))[::-1][:k].sum() / np.maximum(c, 0).sum()
    assert found.updates["mass_removed"].iloc[-1] == pytest.approx(expected)


def test_a_row_of_the_table_by_name(run):
    assert el.replay(run, "kl_cov_7b").control == "kl_cov_7b"
    assert "would choose" in el.replay(run, "clip_cov_top").summary()
    assert el.replay(run, "kl_cov_7b").to_dict()["updates"][0]["step"] == 0


def test_bad_questions_are_named(run):
    with pytest.raises(InvalidInputError, match="EntropyBonus chooses no tokens"):
        el.replay(run, el.EntropyBonus(0.1))
    with pytest.raises(UnknownNameError, match="'nonsense' does not exist"):
        el.replay(run, "nonsense")
    with pytest.raises(InvalidInputError, match="micro_batches"):
        el.replay(run, KL, micro_batches=[0])


def test_a_sampled_log_cannot_be_replayed(make_run, tmp_path):
    sampling = el.TokenSampling.tail_and_share(0.2)
    sampled = make_run(tmp_path / "sampled", steps=3, prompts=12, token_sampling=sampling)
    with pytest.raises(InsufficientDataError, match="all of them"):
        el.replay(sampled, KL)
    thin = make_run(tmp_path / "thin", steps=6, prompts=6, token_sampling=el.TokenSampling(every_steps=3))
    assert el.replay(thin, KL).steps == (0, 3)


def test_plot(run):
    pytest.importorskip("matplotlib")
    assert el.replay(run, KL, micro_batches=(4, 12)).plot().get_xlabel() == "responses a micro-batch"
