"""Tensors on a GPU: packed there, one transfer a step, and record never waits for the device."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pyarrow as pa
import pytest

import entropylab as el

torch = pytest.importorskip("torch")
pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


def on_gpu(given) -> dict:
    def move(x):
        return torch.from_numpy(np.ascontiguousarray(x)).cuda() if isinstance(x, np.ndarray) else x

    found = {name: move(x) for name, x in given.items() if name != "out"}
    return {**found, "out": SimpleNamespace(tokens={k: move(v) for k, v in given["out"].tokens.items()})}


def rows(path):
    return pa.Table.from_batches(list(el.open_run(path).tokens())).to_pandas()


def test_a_gpu_run_equals_the_run_from_host_memory(tmp_path, batch):
    with el.Recorder(tmp_path / "gpu") as gpu, el.Recorder(tmp_path / "cpu") as cpu:
        for step in range(4):
            for piece in range(2):
                given = batch(2 * step + piece)
                cpu.record(step, micro_step=piece, **given)
                gpu.record(step, micro_step=piece, **on_gpu(given))
            cpu.end_step(step)
            gpu.end_step(step)
    assert rows(tmp_path / "gpu").equals(rows(tmp_path / "cpu"))
    a, b = (el.open_run(tmp_path / name).steps() for name in ("gpu", "cpu"))
    numbers = a.select_dtypes("number").columns.drop("wall_time", errors="ignore")
    assert a[numbers].equals(b[numbers])


def test_record_and_end_step_never_wait_and_the_caller_may_overwrite(tmp_path, batch):
    with el.Recorder(tmp_path / "run") as recorder:
        recorder.record(0, **on_gpu(batch(0)))
        recorder.end_step(0)
        recorder.flush()
        given = on_gpu(batch(1))
        spin = torch.randn(2048, 2048, device="cuda")
        torch.cuda.synchronize()
        for _ in range(200):
            spin = torch.tanh(spin @ spin)
        before = torch.cuda.Event()
        before.record()
        torch.cuda.set_sync_debug_mode("error")
        try:
            recorder.record(1, **given)
            recorder.end_step(1)
            waited = before.query()
            for x in [*given.values(), *given["out"].tokens.values()]:
                if isinstance(x, torch.Tensor):
                    x.zero_()
        finally:
            torch.cuda.set_sync_debug_mode("default")
        assert not waited
    with el.Recorder(tmp_path / "expected") as recorder:
        recorder.record(0, **batch(0))
        recorder.end_step(0)
        recorder.record(1, **batch(1))
    assert rows(tmp_path / "run").equals(rows(tmp_path / "expected"))


def test_one_transfer_a_step_into_page_locked_memory(tmp_path, batch):
    given = [on_gpu(batch(seed)) for seed in range(3)]
    with el.Recorder(tmp_path / "run") as recorder:
        with torch.profiler.profile(
            activities=[torch.profiler.ProfilerActivity.CPU, torch.profiler.ProfilerActivity.CUDA]
        ) as profile:
            for piece, one in enumerate(given):
                recorder.record(0, micro_step=piece, **one)
            recorder.end_step(0)
            recorder.flush()
        copies = [e for e in profile.events() if "Memcpy DtoH" in e.name]
    assert len(copies) == 1, [e.name for e in copies]
    assert "Pinned" in copies[0].name
