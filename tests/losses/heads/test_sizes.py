"""Any number of rows against any chunk, and vocabularies of 7 and of 151,936."""

from __future__ import annotations

import pytest
import torch

import entropylab as el
from entropylab.errors import InvalidInputError

CONTROLS = (None, el.EntropyBonus(0.1), el.KLCov(fraction=0.2), el.KLPenalty(0.1, "forward_kl"), el.STEER())
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.mark.parametrize("chunk_rows", [1, 2, 5, 19, 20, 21, 1000, None])
def test_chunks(chunk_rows, make_head, fused, exact, agree):
    head = make_head(4, 5)
    head.mask[:] = True
    for control in CONTROLS:
        mine = fused(head, el.PPOClip(), control, chunk_rows=chunk_rows)
        agree(head, mine, exact.loss(head, el.PPOClip(), control))


@pytest.mark.parametrize("shape", [(1, 1), (7, 1), (1, 7)])
def test_few_tokens(shape, make_head, fused, exact, agree):
    head = make_head(*shape, vocabulary=7)
    head.mask[:] = True
    for control in CONTROLS:
        for reduction in ("token_mean", "seq_mean_token_mean"):
            shared = {"reduction": reduction}
            agree(head, *(f(head, el.PPOClip(), control, **shared) for f in (fused, exact.loss)))


def test_a_vocabulary_of_one(make_head, fused):
    head = make_head(2, 3, vocabulary=1)
    out = fused(head, el.PPOClip(), el.EntropyBonus(0.1))
    out.loss.backward()
    assert float(out.tokens["logprobs"][head.mask].abs().max()) == 0.0
    assert float(head.weight.grad.abs().max()) <= 1e-12


@pytest.mark.parametrize("shape", [(0, 5), (3, 0), (0, 0)])
def test_no_rows(shape, make_head, fused, gradients):
    head = make_head(3, 5)
    rows, length = shape
    for name in ("tokens", "old_logprobs", "advantages", "mask"):
        setattr(head, name, getattr(head, name)[:rows, :length])
    head.hidden = head.hidden.detach()[:rows, :length].requires_grad_()
    head.ref_hidden = head.ref_hidden[:rows, :length]
    for control in CONTROLS:
        with pytest.raises(InvalidInputError, match="mask is empty"):
            fused(head, el.PPOClip(), control)
        for keywords in ({"validate": False}, {"denominator": 7}):
            out = fused(head, el.PPOClip(), control, **keywords)
            assert float(out.loss.detach()) == 0.0
            assert not any(bool(one.any()) for one in gradients(head, out.loss))
    stats = el.token_stats(head.hidden, head.weight, head.tokens, top=True, varentropy=True)
    assert stats.top_token.shape == stats.varentropy.shape == shape
    for cache in (0, 1 << 20):
        logprobs, entropy = el.linear_logprob_entropy(
            head.hidden, head.weight, head.tokens, cache_bytes=cache
        )
        (logprobs.sum() + entropy.sum()).backward()
    assert head.hidden.grad.shape == head.hidden.shape
    assert not head.weight.grad.any()


def test_all_rows_masked(make_head, fused, gradients):
    head = make_head()
    head.mask[:] = False
    for control in CONTROLS:
        with pytest.raises(InvalidInputError, match="mask is empty"):
            fused(head, el.PPOClip(), control)
        for keywords in ({"validate": False}, {"denominator": 7}):
            out = fused(head, el.PPOClip(), control, **keywords)
            assert float(out.loss.detach()) == 0.0
            assert not any(bool(one.any()) for one in gradients(head, out.loss))
    stats = el.token_stats(head.hidden, head.weight, head.tokens, mask=head.mask, top=True)
    assert not stats.logprobs.any()
    assert not stats.top_token.any()
    logprobs, entropy = el.linear_logprob_entropy(head.hidden, head.weight, head.tokens, mask=head.mask)
    (logprobs.sum() + entropy.sum()).backward()
    assert not head.hidden.grad.any()


def test_a_vocabulary_of_151936(make_head, fused, exact, agree):
    head = make_head(2, 3, 8, 151_936, dtype=torch.float32, scale=0.5, biased=False)
    head.mask[:] = True
    for control in (el.EntropyBonus(0.1), el.KLPenalty(0.1, "reverse_kl")):
        mine = fused(head, el.ImportanceSampling(), control, chunk_rows=4)
        theirs = exact.loss(head, el.ImportanceSampling(), control)
        agree(head, mine, theirs, rtol=2e-4, atol=2e-6)
    stats = el.token_stats(head.hidden, head.weight, head.tokens, top=True, varentropy=True)
    log_p = exact.distribution(head.hidden, head.weight).detach()
    torch.testing.assert_close(stats.entropy.double(), exact.entropy(log_p), rtol=2e-6, atol=2e-5)
    assert torch.equal(stats.top_token, log_p.argmax(-1))
