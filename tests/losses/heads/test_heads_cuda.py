"""On a GPU: bf16 heads against fp64, both row kernels alike, no wait for the device, one matrix of logits."""

from __future__ import annotations

import contextlib

import pytest
import torch

from entropylab.losses.controls.clip_cov import ClipCov
from entropylab.losses.controls.entropy_bonus import EntropyBonus
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.heads.fused_loss import fused_policy_loss
from entropylab.losses.heads.linear_op import linear_logprob_entropy
from entropylab.losses.heads.row_kernels import VARIABLE
from entropylab.losses.heads.statistics import token_stats

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
ROWS, LENGTH, WIDTH, SIZE = 8, 128, 256, 5000
CONTROLS = {
    "ppo": None,
    "entropy": EntropyBonus(0.1),
    "clip_cov": ClipCov(fraction=0.01, low=-9.0, high=9.0),
    "kl_cov": KLCov(fraction=0.01),
}


def batch(dtype=torch.bfloat16, rows=ROWS, length=LENGTH, width=WIDTH, size=SIZE, device="cuda"):
    """Hidden states and head whose logits reach about ±15, and what ``policy_loss`` needs."""
    g = torch.Generator().manual_seed(5)

    def draw(*shape):
        return torch.randn(*shape, generator=g)

    return {
        "hidden": draw(rows, length, width).to(device, dtype).requires_grad_(),
        "weight": (3.5 * draw(size, width) / width**0.5).to(device, dtype).requires_grad_(),
        "tokens": torch.randint(size, (rows, length), generator=g).to(device),
        "old_logprobs": (-9 + draw(rows, length)).to(device),
        "advantages": draw(rows, length).to(device),
        "mask": (torch.rand(rows, length, generator=g) < 0.9).to(device),
    }


def head_of(x):
    return x["hidden"], x["weight"], x["tokens"]


def plain(x):
    """log p and H of all logits at once, in fp64, with leaves of their own."""
    hidden, weight = (x[name].detach().double().requires_grad_() for name in ("hidden", "weight"))
    log_p = torch.log_softmax(hidden @ weight.t(), -1)
    logprobs = log_p.gather(-1, x["tokens"].unsqueeze(-1)).squeeze(-1)
    return logprobs, -(log_p.exp() * log_p).sum(-1), (hidden, weight)


def fused(x, control=None, **settings):
    """The loss and what it adds to the leaves."""
    x["hidden"].grad = x["weight"].grad = None
    out = fused_policy_loss(**x, control=control, validate=False, **settings)
    out.loss.backward()
    return out.loss.detach(), x["hidden"].grad, x["weight"].grad


def apart(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


@contextlib.contextmanager
def no_sync():
    """Whatever waits for the device raises."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_statistics_of_bf16_have_the_digits_of_fp32():
    x = batch()
    found, (logprobs, entropy, _) = token_stats(*head_of(x)), plain(x)
    assert float((found.logprobs.double() - logprobs).abs().max()) <= 2e-5
    assert float((found.entropy.double() - entropy).abs().max()) <= 5e-5


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_gradients_of_bf16(cache_bytes):
    x = batch()
    logprobs, entropy = linear_logprob_entropy(*head_of(x), cache_bytes=cache_bytes, chunk_rows=300)
    ((logprobs + 0.3 * entropy) * x["advantages"]).sum().backward()
    logprobs, entropy, leaves = plain(x)
    ((logprobs + 0.3 * entropy) * x["advantages"]).sum().backward()
    limit = 2.5e-3 if cache_bytes == 0 else 1e-2
    assert apart(x["hidden"].grad, leaves[0].grad) <= limit
    assert apart(x["weight"].grad, leaves[1].grad) <= limit


@pytest.mark.parametrize("control", CONTROLS)
@pytest.mark.parametrize("settings", [{}, {"temperature": 0.8, "softcap": 20.0}], ids=["plain", "all"])
def test_both_row_kernels_give_the_same(monkeypatch, control, settings):
    found = []
    for name in ("torch", "triton"):
        monkeypatch.setenv(VARIABLE, name)
        found.append(fused(batch(), CONTROLS[control], chunk_rows=300, **settings))
    (loss, *gradients), (other, *others) = found
    torch.testing.assert_close(other, loss, rtol=1e-5, atol=1e-6)
    for one, two in zip(gradients, others, strict=True):
        assert apart(two, one) <= 1e-3


def test_fp64_on_the_gpu_is_that_of_the_cpu():
    here, there = (
        fused(batch(torch.float64, device=device), EntropyBonus(0.1)) for device in ("cpu", "cuda")
    )
    for one, other in zip(here, there, strict=True):
        torch.testing.assert_close(other.cpu(), one, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("control", CONTROLS)
def test_the_fused_loss_never_waits(control):
    x = batch()
    fused(x, CONTROLS[control])
    with no_sync():
        fused(x, CONTROLS[control])


@pytest.mark.parametrize("cache_bytes", [0, 1 << 30])
def test_the_differentiable_statistics_never_wait(cache_bytes):
    x = batch()

    def step():
        logprobs, entropy = linear_logprob_entropy(
            *head_of(x), mask=x["mask"], cache_bytes=cache_bytes, validate=False
        )
        (logprobs.sum() + entropy.sum()).backward()

    step()
    with no_sync():
        step()
        token_stats(*head_of(x), mask=x["mask"], top=True, varentropy=True, validate=False)


def test_one_matrix_of_logits_is_enough():
    pytest.importorskip("triton", reason="needs triton")
    x = batch(rows=8, length=512, width=64, size=50_000)
    chunk = 2048
    fused(x, EntropyBonus(0.1), chunk_rows=chunk)
    x["hidden"].grad = x["weight"].grad = None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    out = fused_policy_loss(**x, control=EntropyBonus(0.1), chunk_rows=chunk, validate=False)
    taken = torch.cuda.max_memory_allocated() - before
    del out
    sums = 4 * (x["hidden"].numel() + x["weight"].numel())
    assert taken - sums < 1.1 * 4 * chunk * 50_000


def test_every_run_gives_the_same_bits():
    one, other = (fused(batch(), EntropyBonus(0.1)) for _ in range(2))
    assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
