"""On a GPU: every row gives what the CPU gives, never waits for the device, and compiles to one graph."""

from __future__ import annotations

import contextlib

import pytest
import torch
from torch import distributed

from entropylab.losses.collective import select_tokens
from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.covariance import token_covariance
from entropylab.losses.heads.full_kl import FullKL
from entropylab.losses.interfaces import chooses_tokens
from entropylab.losses.methods import METHODS
from entropylab.losses.policy_loss import policy_loss
from entropylab.losses.surrogates import ImportanceSampling

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
COMPILED = ("grpo", "clip_cov", "kl_cov_7b", "kl_cov_targeted")
REQUIRED = ("logprobs", "old_logprobs", "advantages", "mask")


@pytest.fixture
def on_gpu():
    """A copy of a batch on the GPU, with fresh leaves."""

    def call(tokens):
        out = type(tokens)(**vars(tokens))
        for name, value in vars(tokens).items():
            moved = value.detach().cuda().requires_grad_(value.requires_grad)
            setattr(out, name, moved)
        return out

    return call


@contextlib.contextmanager
def no_sync():
    """Whatever waits for the device raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def _outcome(run_method, tokens, row, **keywords):
    out = run_method(tokens, row, validate=False, **keywords)
    out.loss.backward()
    return out, tokens.logprobs.grad


def _agree(one, other, rtol=1e-5, atol=1e-7):
    (out, gradient), (far, far_gradient) = one, other
    assert torch.equal(far.tokens["selected"].cpu(), out.tokens["selected"])
    torch.testing.assert_close(far.loss.cpu(), out.loss, rtol=rtol, atol=atol)
    torch.testing.assert_close(far_gradient.cpu(), gradient, rtol=rtol, atol=atol)
    for name, value in out.metrics.items():
        torch.testing.assert_close(far.metrics[name].cpu(), value, rtol=1e-4, atol=1e-6, msg=name)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_gpu_gives_what_the_cpu_gives(method, make_tokens, run_method, on_gpu, dtype):
    tight = {"rtol": 1e-11, "atol": 1e-13} if dtype == torch.float64 else {}
    here = make_tokens(9, 200, seed=5, dtype=dtype)
    there = on_gpu(here)
    _agree(_outcome(run_method, here, method), _outcome(run_method, there, method), **tight)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("key", COMPILED)
def test_low_precision(key, make_tokens, run_method, on_gpu, dtype):
    here = make_tokens(9, 200, seed=5, dtype=dtype)
    there = on_gpu(here)
    one, other = (_outcome(run_method, x, METHODS[key]) for x in (here, there))
    _agree(one, other, rtol=1e-2, atol=1e-5)
    assert other[1].dtype == dtype


def test_nothing_waits_for_the_device(method, make_tokens, run_method, on_gpu):
    there = on_gpu(make_tokens(9, 200, seed=5, dtype=torch.float32))
    _outcome(run_method, there, method)
    with no_sync():
        out, _ = _outcome(run_method, there, method)
        out.tokens["selected"].any()


def test_choosing_never_waits(selecting_method, make_tokens, on_gpu):
    there = on_gpu(make_tokens(9, 200, seed=5, dtype=torch.float32))
    columns = [getattr(there, name) for name in REQUIRED]
    ids = torch.arange(9, device="cuda")
    settings = {"surrogate": selecting_method.surrogate, "sample_ids": ids, "validate": False}
    select_tokens(selecting_method.control, *columns, **settings)
    with no_sync():
        select_tokens(selecting_method.control, *columns, **settings)


@pytest.mark.slow
@pytest.mark.parametrize("key", COMPILED)
def test_compiled(key, make_tokens, inputs, run_method, on_gpu):
    torch._dynamo.reset()
    row, there = METHODS[key], on_gpu(make_tokens(9, 200, seed=5, dtype=torch.float32))
    plain, gradient = _outcome(run_method, there, row)
    (leaf, *others), optional = inputs(there, row.control)
    compiled = torch.compile(policy_loss, fullgraph=True)
    again = leaf.detach().clone().requires_grad_()
    out = compiled(again, *others, surrogate=row.surrogate, control=row.control, **optional)
    out.loss.backward()
    here = (plain.loss.cpu(), gradient.cpu())
    torch.testing.assert_close((out.loss.cpu(), again.grad.cpu()), here, rtol=1e-5, atol=1e-7)
    assert torch.equal(out.tokens["selected"], plain.tokens["selected"])


def test_deterministic_algorithms(method, make_tokens, run_method, on_gpu, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    there = on_gpu(make_tokens(9, 200, seed=5, dtype=torch.float32))
    torch.use_deterministic_algorithms(True)
    try:
        first, gradient = _outcome(run_method, there, method)
        there.logprobs.grad = None
        second, again = _outcome(run_method, there, method)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.equal(first.loss, second.loss)
    assert torch.equal(gradient, again)


@pytest.mark.parametrize("control", [KLCov(fraction=0.01), ClipCov(fraction=0.001)], ids=str)
def test_a_large_batch_chooses_the_same_tokens(control, on_gpu, make_tokens):
    here = make_tokens(64, 4096, seed=8, dtype=torch.float32)
    there = on_gpu(here)
    found = [
        policy_loss(*(getattr(x, n) for n in REQUIRED), control=control, surrogate=ImportanceSampling())
        for x in (here, there)
    ]
    assert torch.equal(found[0].tokens["selected"], found[1].tokens["selected"].cpu())
    assert int(found[1].metrics["entropylab/selected/count"]) == control.budget.of(int(here.mask.sum()))


def test_covariance(make_tokens, on_gpu):
    here = make_tokens(9, 200, seed=5, dtype=torch.float64)
    there = on_gpu(here)
    one, other = (token_covariance(x.logprobs, x.advantages, x.mask) for x in (here, there))
    torch.testing.assert_close(other.cpu(), one, equal_nan=True, rtol=1e-12, atol=1e-14)


def test_a_group_over_nccl_chooses_what_one_process_chooses(tmp_path, make_tokens, on_gpu):
    here = make_tokens(9, 200, seed=5, dtype=torch.float64)
    there = on_gpu(here)
    columns = [getattr(there, name).detach() for name in REQUIRED]
    ids = torch.arange(9, device="cuda") * 3
    shared = {"surrogate": ImportanceSampling(), "sample_ids": ids}
    distributed.init_process_group("nccl", init_method=f"file://{tmp_path / 'meet'}", rank=0, world_size=1)
    try:
        for row in (row for row in METHODS.values() if chooses_tokens(row.control)):
            alone = select_tokens(row.control, *columns, **shared)
            group = distributed.group.WORLD
            met = select_tokens(row.control, *columns, group=group, **shared)
            for name in ("sample_ids", "positions", "count", "threshold"):
                assert torch.equal(getattr(alone, name), getattr(met, name)), (row.key, name)
    finally:
        distributed.destroy_process_group()


def test_tensors_of_two_devices_are_refused(make_tokens, on_gpu):
    here = make_tokens(3, 9)
    there = on_gpu(here)
    with pytest.raises(ValueError, match="old_logprobs is on cpu"):
        policy_loss(there.logprobs, here.old_logprobs, there.advantages, there.mask)


def test_full_kl_stays_on_the_device(make_tokens, on_gpu):
    there = on_gpu(make_tokens(9, 50, seed=5, dtype=torch.float32))
    row = METHODS["kl_cov_targeted"]
    full = FullKL.from_logits(there.logits, there.ref_logits)
    columns = [getattr(there, name) for name in REQUIRED]
    with no_sync():
        out = policy_loss(
            *columns, control=row.control, surrogate=row.surrogate, full_kl=full, validate=False
        )
        out.loss.backward()
    assert there.logits.grad is not None
