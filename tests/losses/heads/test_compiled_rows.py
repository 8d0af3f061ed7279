"""The compiled row kernels give what pure torch gives, in half the memory."""

from __future__ import annotations

import pytest
import torch

import entropylab as el
from entropylab.losses.heads import compiled_rows, row_kernels as choice
from entropylab.losses.heads.head import HeadSettings, make_head as checked_head

pytestmark = pytest.mark.slow
N, D, V = 24, 8, 1000


@pytest.fixture
def compiled(monkeypatch):
    """From here on."""

    def start() -> None:
        monkeypatch.setenv(choice.VARIABLE, "compiled")

    return start


def results(softcap):
    torch.manual_seed(0)
    hidden = torch.randn(2, N // 2, D, requires_grad=True)
    weight = torch.randn(V, D, requires_grad=True)
    tokens, mask = torch.randint(0, V, (2, N // 2)), torch.rand(2, N // 2) > 0.2
    settings = {"temperature": 0.7, "softcap": softcap, "chunk_rows": 10}
    stats = el.token_stats(hidden, weight, tokens, mask=mask, top=True, varentropy=True, **settings)
    found = [stats.logprobs, stats.entropy, stats.top_logprob, stats.varentropy]
    losses = [
        el.fused_policy_loss(
            hidden, weight, tokens, stats.logprobs, torch.randn(2), mask, control=control, **settings
        ).loss
        for control in (el.EntropyBonus(0.01), el.ClipCov.top(0.1))
    ]
    logprobs, entropy = el.linear_logprob_entropy(hidden, weight, tokens, mask=mask, **settings)
    for loss in (*losses, (2 * logprobs + entropy).sum(), logprobs.sum()):
        found += [loss.detach(), *torch.autograd.grad(loss, (hidden, weight), retain_graph=True)]
    return found, stats.top_token


@pytest.mark.parametrize("softcap", [None, 5.0])
def test_the_same_numbers(softcap, compiled):
    plain, top = results(softcap)
    compiled()
    found, same = results(softcap)
    assert torch.equal(top, same)
    for one, other in zip(plain, found, strict=True):
        torch.testing.assert_close(other, one, rtol=2e-5, atol=2e-6)


def test_one_matrix(compiled):
    compiled()
    head = checked_head(torch.zeros(1, 2), torch.zeros(3, 2), None, HeadSettings())
    assert choice.row_kernels(head, torch.device("cpu")) is compiled_rows
    (logits,) = compiled_rows.memory(head, 5, torch.device("cpu"))
    assert logits.shape == (5, 3)
