"""The copy that record makes: the caller may overwrite, any tensor type, one packed transfer a step."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.errors import InvalidInputError
from entropylab.record import device_copy, staging
from entropylab.record.buffers import BufferPool
from entropylab.record.inputs import MicroStep, fields_of
from entropylab.record.pieces import make_piece
from entropylab.record.staging import DeviceBlock, Staging, lay_out

torch = pytest.importorskip("torch")

ARRAYS = (
    "logprobs",
    "old_logprobs",
    "ref_logprobs",
    "entropy",
    "entropy_after",
    "influence",
    "advantages",
    "mask",
    "rewards",
    "token_ids",
    "sample_ids",
    "prompt_ids",
)


def tensors(b, kind=None) -> dict:
    """The batch as torch tensors, floats of one type where given."""

    def convert(x):
        tensor = torch.from_numpy(np.ascontiguousarray(x))
        return tensor.to(kind) if kind is not None and tensor.is_floating_point() else tensor

    found = {k: convert(v) if isinstance(v, np.ndarray) else v for k, v in b.items()}
    loss = {k: convert(v) for k, v in b["out"].tokens.items()}
    return {**found, "out": SimpleNamespace(tokens=loss)}


def rows(path) -> pa.Table:
    return pa.Table.from_batches(list(el.open_run(path).tokens()))


def test_inputs_may_be_overwritten_when_record_returns(tmp_path, batch):
    for name, convert in (("numpy", lambda b: b), ("torch", tensors)):
        given = convert(batch(3))
        with el.Recorder(tmp_path / name) as recorder:
            recorder.record(0, **given)
            arrays = [x for x in [*given.values(), *given["out"].tokens.values()] if hasattr(x, "shape")]
            for array in arrays:
                array[...] = 0
            recorder.end_step(0)
    with el.Recorder(tmp_path / "untouched") as recorder:
        recorder.record(0, **batch(3))
    for name in ("numpy", "torch"):
        assert same(rows(tmp_path / name), rows(tmp_path / "untouched"))


def same(left: pa.Table, right: pa.Table) -> bool:
    return left.to_pandas().equals(right.to_pandas())


@pytest.mark.parametrize("kind", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_every_float_type_is_stored_as_float32(tmp_path, batch, kind):
    given = tensors(batch(1), kind)
    with el.Recorder(tmp_path / "r") as recorder:
        recorder.record(0, **given)
    expected = given["logprobs"].float()[given["mask"]].numpy()
    np.testing.assert_array_equal(rows(tmp_path / "r")["logprob"].to_numpy(), expected)


@pytest.mark.parametrize("layout", ["transposed", "expanded", "sliced", "needs grad"])
def test_tensors_of_any_memory_layout(tmp_path, batch, layout):
    b = batch(2)
    plain = torch.from_numpy(b["logprobs"])
    given = {
        "transposed": plain.T.contiguous().T,
        "expanded": plain,
        "sliced": torch.stack([plain, plain], dim=-1)[..., 0],
        "needs grad": plain.clone().requires_grad_(),
    }[layout]
    change = {"advantages": torch.ones(1, 1).expand(plain.shape)} if layout == "expanded" else {}
    with el.Recorder(tmp_path / "r") as recorder:
        recorder.record(0, **{**b, "logprobs": given, **change})
    np.testing.assert_array_equal(rows(tmp_path / "r")["logprob"].to_numpy(), b["logprobs"][b["mask"]])


@pytest.fixture
def on_device(monkeypatch):
    """Tensors on the CPU go the way of those on a device: packed, then sent in one transfer a step."""
    transfers = []

    class Counted(device_copy.Transfer):
        def __init__(self, packs, pool):
            transfers.append(len(packs))
            super().__init__(packs, pool)

    monkeypatch.setattr(staging, "is_host", lambda view: not hasattr(view, "detach"))
    monkeypatch.setattr(staging, "Transfer", Counted)
    return transfers


def test_packed_tensors_give_the_same_rows_in_one_transfer_a_step(tmp_path, batch, on_device):
    for name, convert in (("host", lambda b: b), ("device", tensors)):
        with el.Recorder(tmp_path / name) as recorder:
            for step in range(3):
                for micro in range(4):
                    given = convert(batch(10 * step + micro))
                    given["metrics"] = {"loss": torch.tensor(0.5) if name == "device" else 0.5}
                    recorder.record(step, update=micro // 2, micro_step=micro % 2, **given)
    assert on_device == [4, 4, 4]  # one a step, of four micro-steps
    assert same(rows(tmp_path / "host"), rows(tmp_path / "device"))
    left, right = (el.open_run(tmp_path / n).steps().drop(columns="recorded_at") for n in ("host", "device"))
    assert left.equals(right)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float32, torch.float64, torch.int64])
def test_packing_casts_on_the_device(on_device, batch, kind):
    b = batch(5)
    floats = kind.is_floating_point
    given = tensors(b, kind if floats else None)
    given["mask"] = given["mask"].to(kind)
    fields = fields_of({n: given[n] for n in ARRAYS}, given["out"].tokens)
    stage = Staging()
    staged = stage.copy(call(12), fields)
    stage.send([staged])
    arrays = staged.arrays()
    assert arrays["logprobs"].dtype == np.float32
    piece = make_piece(staged.call, arrays)
    np.testing.assert_array_equal(piece.tokens.logprob, given["logprobs"].float().numpy()[b["mask"]])
    np.testing.assert_array_equal(piece.token_id, b["token_ids"][b["mask"]])
    assert all(isinstance(block, DeviceBlock) for block in staged.blocks[1:])
    stage.release([staged])


def call(rows: int) -> MicroStep:
    return MicroStep(0, 0, None, np.arange(rows), None, False, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.full((12, 9), 0.5)}, "mask must be bool or 0/1, found the value .*0.5"),
        ({"token_ids": torch.full((12, 9), 2**40)}, "token_ids must fit int32"),
    ],
)
def test_a_bad_value_on_a_device_surfaces_at_the_next_call(tmp_path, batch, on_device, change, message):
    recorder = el.Recorder(tmp_path / "r")
    recorder.record(0, **batch(0))
    recorder.end_step(0)
    recorder.record(1, **{**tensors(batch(1)), **change})
    recorder.end_step(1)
    with pytest.raises(InvalidInputError, match=message):
        recorder.flush()
    with pytest.raises(InvalidInputError, match=r"found when its step was written.*open a new Recorder"):
        recorder.close()
    assert el.open_run(tmp_path / "r").steps()["step"].tolist() == [0]


def test_record_reads_no_value_of_a_tensor_that_is_not_on_the_host(tmp_path, batch):
    """A tensor on the meta device has a shape and a type but no values: checking it must not need any."""
    given = {k: v.to("meta") if hasattr(v, "to") else v for k, v in tensors(batch(0)).items()}
    loss = {k: v.to("meta") for k, v in given["out"].tokens.items()}
    fields = fields_of({n: given[n] for n in ARRAYS}, loss)
    staged = Staging().copy(call(12), fields)
    assert sum(len(block.slots) for block in staged.blocks) == len(fields)


def test_arrays_lie_aligned_and_apart():
    slots, size = lay_out(
        {"a": (np.dtype(bool), (3,)), "b": (np.dtype(np.float64), (2, 2)), "c": (np.dtype("i4"), ())}
    )
    assert [s.offset % 64 for s in slots.values()] == [0, 0, 0]
    assert slots["a"].end <= slots["b"].offset
    assert size == slots["c"].end
    buffer = np.zeros(size, np.uint8)
    slots["b"].of(buffer)[:] = 1.5
    assert slots["b"].of(buffer).tolist() == [[1.5, 1.5], [1.5, 1.5]]
    assert not slots["a"].of(buffer).any()


def test_the_pool_gives_buffers_again_and_keeps_no_more_than_were_in_use():
    pool = BufferPool()
    first = pool.take(100_000)
    pool.give_back(first)
    assert pool.take(90_000) is first
    others = [pool.take(100_000) for _ in range(3)]
    most = pool.held
    for buffer in (first, *others):
        pool.give_back(buffer)
    assert pool.held == most
    pool.give_back(pool.take(10 * most))
    assert pool.held <= 11 * most
    small = [pool.take(1000) for _ in range(4)]
    assert len({id(b) for b in small}) == 4


def test_memory_is_that_of_two_steps_however_slow_the_disk(tmp_path, batch, monkeypatch):
    from entropylab.record import writer

    go = threading.Semaphore(0)
    sync = writer.os.fsync
    monkeypatch.setattr(
        writer.os,
        "fsync",
        lambda d: sync(d) if sys.is_finalizing() else (go.acquire(timeout=0.02), sync(d))[1],
    )
    held = []
    with el.Recorder(tmp_path / "r") as recorder:
        for step in range(12):
            recorder.record(step, **batch(step, rows=300, length=50))
            recorder.end_step(step)
            held.append(recorder._staging.held)
    assert max(held[4:]) == max(held[:4])
    assert el.open_run(tmp_path / "r").whole_steps() == list(range(12))
