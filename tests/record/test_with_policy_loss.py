"""With the real loss: the log holds what the loss used, and says which set it was centred over."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

import entropylab as el

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.filterwarnings("ignore:ClipCov. fraction")


def micro_batches(n: int = 4, rows: int = 8, length: int = 12) -> list[dict]:
    generator = torch.Generator().manual_seed(0)
    batches = []
    for m in range(n):
        old = -torch.rand(rows, length, generator=generator) * 3
        batches.append(
            {
                "logprobs": (old + 0.1 * torch.randn(rows, length, generator=generator)).requires_grad_(),
                "old_logprobs": old,
                "advantages": torch.randn(rows, generator=generator),
                "mask": torch.rand(rows, length, generator=generator) < 0.8,
                "sample_ids": torch.arange(rows) + rows * m,
            }
        )
    return batches


def record_losses(path, batches, **loss_settings):
    outs = []
    with el.Recorder(path) as recorder:
        for m, b in enumerate(batches):
            out = el.policy_loss(
                **b, **{k: v[m] if k == "selection" else v for k, v in loss_settings.items()}
            )
            recorder.record(0, out, **b, micro_step=m)
            outs.append(out)
    return el.open_run(path), outs


def test_the_columns_are_the_losses_own(tmp_path):
    batches = micro_batches()
    control = el.ClipCov(fraction=0.05, select="top")
    run, outs = record_losses(tmp_path / "r", batches, control=control)
    rows = pa.Table.from_batches(list(run.tokens()))
    for name in ("covariance", "selected", "clipped", "weight"):
        used = torch.cat([o.tokens[name][b["mask"]] for o, b in zip(outs, batches, strict=True)])
        np.testing.assert_array_equal(rows[name].to_numpy(), used.numpy())
    assert run.problems() == []
    assert run.info["covariance_set"] == "micro_step"  # what the paper's ports do, and the log says so
    assert all(o.loss.requires_grad for o in outs)


def test_one_micro_step_is_the_whole_update(tmp_path):
    run, outs = record_losses(
        tmp_path / "r", micro_batches(1), control=el.ClipCov(fraction=0.1, select="top")
    )
    row = run.steps().iloc[0]
    assert run.info["covariance_set"] == "update"
    assert row["selected_count"] == int(outs[0].tokens["selected"].sum())
    assert row["ratio_max"] == pytest.approx(float(outs[0].tokens["ratio"].nan_to_num(0).max()), rel=1e-6)
    clipped = outs[0].tokens["clipped"].sum() / row["n_tokens"]
    assert row["clipped_fraction"] == pytest.approx(float(clipped), rel=1e-6)


def test_a_selection_over_the_whole_update_is_told(tmp_path):
    from entropylab.losses.collective import select_tokens

    batches = micro_batches()
    control = el.ClipCov(fraction=0.05, select="top")
    lists = [[b[k] for b in batches] for k in ("logprobs", "old_logprobs", "advantages", "mask")]
    selection = select_tokens(control, *lists, sample_ids=[b["sample_ids"] for b in batches])
    run, _ = record_losses(tmp_path / "r", batches, control=control, selection=[selection] * len(batches))
    assert run.info["covariance_set"] == "update"
    assert run.steps()["selected_count"].tolist() == [selection.count]
