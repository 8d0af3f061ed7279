"""The recorder finds from the numbers which set of tokens the loss centred over."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

import entropylab as el


def product(batches: list[dict], logprobs: str) -> list[np.ndarray]:
    l = np.concatenate([b[logprobs][b["mask"]] for b in batches]).astype(np.float64)
    a = np.concatenate([np.repeat(b["advantages"], b["mask"].sum(1)) for b in batches]).astype(np.float64)
    return [(b[logprobs] - l.mean()) * (b["advantages"][:, None] - a.mean()) for b in batches]


def record(path, batches, covariances, **settings):
    with el.Recorder(path, **settings) as recorder:
        for m, (b, c) in enumerate(zip(batches, covariances, strict=True)):
            recorder.record(0, **{**b, "out": SimpleNamespace(tokens={"covariance": c}), "micro_step": m})
    return el.open_run(path)


@pytest.mark.parametrize("logprobs", ["logprobs", "old_logprobs"])
def test_update_and_micro_step(tmp_path, batch, logprobs):
    batches = [batch(m) for m in range(3)]
    whole = record(tmp_path / "a", batches, product(batches, logprobs))
    each = record(tmp_path / "b", batches, [product([b], logprobs)[0] for b in batches])
    assert whole.info["covariance_set"] == "update"
    assert each.info["covariance_set"] == "micro_step"


def test_something_else_and_nothing_to_tell(tmp_path, batch):
    batches = [batch(0)]
    assert record(tmp_path / "a", batches, [batch(0)["logprobs"]]).info["covariance_set"] == "other"
    flat = [batch(0, advantages=np.ones(12))]
    assert record(tmp_path / "b", flat, product(flat, "logprobs")).info["covariance_set"] is None


def test_all_ranks_and_one_rank(tmp_path, batch):
    batches = [batch(0), batch(1)]
    for rank, c in enumerate(product(batches, "logprobs")):
        run = record(tmp_path / "a", batches[rank : rank + 1], [c], rank=rank, world_size=2)
        own = product(batches[rank : rank + 1], "logprobs")
        alone = record(tmp_path / "b", batches[rank : rank + 1], own, rank=rank, world_size=2)
    assert run.info["covariance_set"] == "update"
    assert alone.info["covariance_set"] == "rank_update"


def test_bf16_covariances_still_tell(tmp_path, batch):
    torch = pytest.importorskip("torch")
    batches = [batch(0)]
    rounded = [torch.from_numpy(c).to(torch.bfloat16).double().numpy() for c in product(batches, "logprobs")]
    assert record(tmp_path / "a", batches, rounded).info["covariance_set"] == "update"


def test_a_change_between_updates_is_told(tmp_path, batch):
    b = batch(0)
    with el.Recorder(tmp_path / "r") as recorder:
        recorder.record(0, **b)
        recorder.record(1, **{**b, "out": None})
    assert el.open_run(tmp_path / "r").info["covariance_set"] == "mixed"
