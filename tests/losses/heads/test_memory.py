"""No tensor of all logits is made, and the workspace stays within its bound."""

from __future__ import annotations

import pytest
import torch

import entropylab as el

N, V, CHUNK = 256, 900, 64
CONTROLS = {
    "none": None,
    "bonus": el.EntropyBonus(0.1),
    "chosen": [el.ClipCov.top(0.05), el.KLCov(fraction=0.05)],
    "batch": el.STEER(),
    "reference": el.KLPenalty(0.1),
    "full": el.KLCov.targeted(count=9),
    "every token in full": el.KLPenalty(0.1, "reverse_kl"),
}
MIB = 2**20


def _batch(make_head, dtype=torch.float32):
    head = make_head(4, N // 4, 8, V, dtype=dtype, scale=0.3, biased=False)
    head.mask[:] = True
    return head


@pytest.mark.parametrize("name", CONTROLS)
def test_the_largest_tensor_of_the_fused_loss(name, make_head, fused, memory):
    for dtype in (torch.float32, torch.bfloat16):
        head = _batch(make_head, dtype)
        with memory() as seen:
            fused(head, el.PPOClip(), CONTROLS[name], chunk_rows=CHUNK).loss.backward()
        assert seen.largest <= CHUNK * V


@pytest.mark.parametrize("settings", [{}, {"softcap": 20.0}, {"temperature": 0.5}])
def test_the_largest_tensor_of_statistics_and_op(settings, make_head, memory):
    head = _batch(make_head)
    for dtype in (torch.float32, torch.bfloat16):
        head.hidden, head.weight = (x.detach().to(dtype).requires_grad_() for x in (head.hidden, head.weight))
        with memory() as seen:
            el.token_stats(
                head.hidden,
                head.weight,
                head.tokens,
                top=True,
                varentropy=True,
                chunk_rows=CHUNK,
                **settings,
            )
            logprobs, entropy = el.linear_logprob_entropy(
                head.hidden, head.weight, head.tokens, chunk_rows=CHUNK, **settings
            )
            (logprobs.sum() + entropy.sum()).backward()
        assert seen.largest <= CHUNK * V


def test_what_is_kept_fits_its_budget(make_head, memory):
    head = _batch(make_head, torch.bfloat16)
    for budget, largest in ((N * V * 2, N * V), (N * V * 2 - 1, CHUNK * V)):
        with memory() as seen:
            el.linear_logprob_entropy(
                head.hidden, head.weight, head.tokens, cache_bytes=budget, chunk_rows=CHUNK
            )
        assert seen.largest == largest


def test_torch_sees_no_such_allocation_either(make_head, fused):
    """The profiler counts what the allocator gives, also inside of operations."""
    head = _batch(make_head)
    with torch.profiler.profile(profile_memory=True) as seen:
        fused(head, el.PPOClip(), CONTROLS["chosen"], chunk_rows=CHUNK).loss.backward()
    largest = max(event.self_cpu_memory_usage for event in seen.events())
    assert largest < N * V * 4 / 2
    assert largest >= CHUNK * V * 4


WIDE = (4, 68, 512, 32768)
"""The workspace hangs on the rows of a chunk: 272 tokens in two chunks need what 2048 in eight do."""


def _wide(make_head):
    """A batch, and the bytes of the gradients of its hidden states and head."""
    head = make_head(*WIDE, dtype=torch.float32, scale=0.03, biased=False)
    head.mask[:] = True
    return head, 4 * WIDE[2] * (WIDE[0] * WIDE[1] + WIDE[3])


@pytest.mark.quick("chosen")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["none", "chosen"])
def test_the_workspace(name, make_head, fused, memory):
    """At most 115 MiB beyond the gradients at V = 32768 and 256 rows."""
    head, gradients = _wide(make_head)
    with memory() as seen:
        fused(head, el.PPOClip(), CONTROLS[name], chunk_rows=256).loss.backward()
    assert gradients < seen.most <= gradients + 115 * MIB


@pytest.mark.long
@pytest.mark.slow
@pytest.mark.parametrize("cache", [0, 1 << 30])
def test_the_workspace_of_the_op(cache, make_head, memory):
    head, gradients = _wide(make_head)
    held = gradients + (4 * WIDE[0] * WIDE[1] * 32768 if cache else 0)
    with memory() as seen:
        logprobs, entropy = el.linear_logprob_entropy(
            head.hidden, head.weight, head.tokens, cache_bytes=cache, chunk_rows=256
        )
        (logprobs.mean() + entropy.mean()).backward()
    assert seen.most <= held + 115 * MIB
