"""The full divergence from hidden states: heads of every kind, chunks, and rows that are not finite."""

from __future__ import annotations

import pytest
import torch
from plain_heads import distribution, kl_of

import entropylab as el
from entropylab.errors import InvalidInputError, MissingInputError

DIRECTIONS = ("reverse_kl", "forward_kl")
SETTINGS = [
    {},
    {"temperature": 0.4},
    {"softcap": 1.5},
    {"vocab_size": 9},
    {"temperature": 1.7, "softcap": 4.0, "vocab_size": 10},
]


def _full_kl(head, *, chunk_rows=None, **keywords):
    return el.FullKL.from_hidden(
        head.hidden,
        head.weight,
        head.ref_hidden,
        head.ref_weight,
        bias=head.bias,
        ref_bias=head.ref_bias,
        chunk_rows=chunk_rows,
        **keywords,
    )


def _exact(head, direction, **keywords):
    """KL [N] of all rows."""
    log_p = distribution(head.hidden, head.weight, head.bias, **keywords)
    log_q = distribution(head.ref_hidden, head.ref_weight, head.ref_bias, **keywords)
    return kl_of(log_p, log_q, direction).flatten()


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("keywords", SETTINGS)
def test_equals_all_logits(keywords, biased, direction, make_head, gradients):
    head = make_head(biased=biased)
    rows = torch.tensor([50, 0, 7, 7, 12, 33, 1])
    weights = torch.randn(7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    theirs = _exact(head, direction, **keywords)[rows]
    for chunk_rows in (None, 1, 12, 28):  # all at once, one by one, pieces of 3, all in one chunk
        mine = _full_kl(head, chunk_rows=chunk_rows, **keywords)(rows, direction)
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)
        pairs = (gradients(head, (weights * x).sum(), retain_graph=True) for x in (mine, theirs))
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("chunk_rows", [8, 400])
def test_gradcheck(direction, chunk_rows, make_head):
    head = make_head(2, 4, 3, 6)
    rows = torch.tensor([1, 6, 6])

    def call(hidden, weight, bias):
        full_kl = el.FullKL.from_hidden(
            hidden,
            weight,
            head.ref_hidden,
            head.ref_weight,
            bias=bias,
            ref_bias=head.ref_bias,
            softcap=2.0,
            chunk_rows=chunk_rows,
        )
        return full_kl(rows, direction)

    assert torch.autograd.gradcheck(call, (head.hidden, head.weight, head.bias))


def test_heads_padded_to_different_sizes(make_head):
    head = make_head(biased=False)
    longer = torch.cat([head.ref_weight, torch.full((4, 5), torch.nan, dtype=torch.float64)])
    rows = torch.arange(10)
    got = el.FullKL.from_hidden(head.hidden, head.weight, head.ref_hidden, longer, vocab_size=11)(rows)
    torch.testing.assert_close(got, _exact(head, "reverse_kl", vocab_size=11)[:10])


@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("where", ["hidden", "ref_hidden"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_rows_that_are_not_finite(direction, where, bad, make_head, gradients):
    """They are NaN, and neither their own gradient nor that of the heads knows them."""
    head = make_head(biased=False)
    rows = torch.arange(20)
    good = torch.tensor([i for i in range(20) if i != 4])
    expected = gradients(head, _full_kl(head)(good, direction).sum())
    with torch.no_grad():
        getattr(head, where)[0, 4] = bad
    for chunk_rows in (16, 400):
        values = _full_kl(head, chunk_rows=chunk_rows)(rows, direction)
        assert values.isnan().nonzero().flatten().tolist() == [4]
        kept = torch.where(values.detach().isfinite(), values, 0.0).sum()
        for one, other in zip(gradients(head, kept), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_frozen_parts(make_head, gradients):
    for name in ("hidden", "weight", "bias"):
        head = make_head()
        getattr(head, name).requires_grad_(False)
        mine, theirs = _full_kl(head, chunk_rows=16)(torch.arange(51)), _exact(head, "reverse_kl")
        for one, other in zip(gradients(head, mine.sum()), gradients(head, theirs.sum()), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_backward_again_and_the_second_derivative(make_head):
    head = make_head()
    for chunk_rows in (16, 400):
        loss = _full_kl(head, chunk_rows=chunk_rows)(torch.arange(9)).square().sum()
        first = torch.autograd.grad(loss, head.weight, retain_graph=True)[0]
        assert torch.equal(first, torch.autograd.grad(loss, head.weight, retain_graph=True)[0])
        (gradient,) = torch.autograd.grad(loss, head.weight, create_graph=True)
        with pytest.raises(RuntimeError, match="once_differentiable"):
            gradient.sum().backward()


@pytest.mark.parametrize("n_rows", [40, 512])
def test_all_rows_make_no_tensor_of_all_logits(n_rows, make_head, memory):
    head = make_head(8, 64, 16, 1000, dtype=torch.float32, scale=0.3)
    rows = torch.arange(n_rows)
    with memory() as seen:
        _full_kl(head, chunk_rows=160)(rows).sum().backward()
    assert seen.largest <= 40 * 1000
    assert seen.most <= 4 * (8 * 40 * 1000 + 3 * (512 * 16 + 1000 * 16))


def test_precision_of_low_inputs(make_head):
    for dtype in (torch.bfloat16, torch.float16, torch.float32):
        head = make_head(4, 32, 64, 500, dtype=dtype, scale=0.5)
        rows = torch.arange(128)
        for direction in DIRECTIONS:
            got, expected = _full_kl(head)(rows, direction), _exact(head, direction)
            assert got.dtype == torch.float32
            torch.testing.assert_close(got.double(), expected, rtol=2e-5, atol=5e-5)


def test_autocast_rounds_no_logits(make_head):
    head = make_head(dtype=torch.float32)
    plain = _full_kl(head)(torch.arange(9))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(_full_kl(head)(torch.arange(9)), plain)


@pytest.mark.slow
def test_transforms(make_head):
    """torch.func.grad and one graph of torch.compile, as policy_loss promises."""
    head = make_head()
    rows = torch.tensor([3, 5, 8])

    def call(hidden, weight):
        full_kl = el.FullKL.from_hidden(hidden, weight, head.ref_hidden, head.ref_weight, chunk_rows=8)
        return full_kl(rows).sum()

    (expected,) = torch.autograd.grad(call(head.hidden, head.weight), head.hidden)
    torch.testing.assert_close(torch.func.grad(call)(head.hidden, head.weight), expected)
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")(head.hidden, head.weight)
    torch.testing.assert_close(torch.autograd.grad(compiled, head.hidden)[0], expected)


def test_no_rows(make_head):
    head = make_head()
    values = _full_kl(head)(torch.arange(0))
    assert values.shape == (0,)
    values.sum().backward()
    assert not head.weight.grad.any()


def test_what_does_not_fit(make_head):
    head = make_head()
    pair = (head.hidden, head.weight, head.ref_hidden, head.ref_weight)
    with pytest.raises(MissingInputError, match="bias is given without ref_bias: give both, zeros"):
        el.FullKL.from_hidden(*pair, bias=head.bias)
    with pytest.raises(MissingInputError, match="ref_bias is given without bias"):
        el.FullKL.from_hidden(*pair, ref_bias=head.bias)
    with pytest.raises(InvalidInputError, match=r"ref_bias has shape \[3\]; ref_weight is \[13, 5\]"):
        el.FullKL.from_hidden(*pair, bias=head.bias, ref_bias=head.bias[:3])
    with pytest.raises(InvalidInputError, match="vocab_size=14 is more than the 13 rows of weight"):
        el.FullKL.from_hidden(*pair, vocab_size=14)
    with pytest.raises(InvalidInputError, match=r"softcap=-1\.0 is not positive"):
        el.FullKL.from_hidden(*pair, softcap=-1.0)
