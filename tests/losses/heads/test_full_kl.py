"""The full-vocabulary KL: values, gradients, rows, and vocabularies with holes."""

from __future__ import annotations

import pytest
import torch

from entropylab.errors import InvalidInputError
from entropylab.losses.controls.kl_cov import KLCov
from entropylab.losses.controls.kl_penalty import KLPenalty
from entropylab.losses.heads.full_kl import FullKL
from entropylab.losses.policy_loss import policy_loss

DIRECTIONS = ("reverse_kl", "forward_kl")
INF = float("inf")


def _normal(*shape, seed=0, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def test_by_hand():
    kl = FullKL.from_logits(torch.tensor([[[0.5, 0.5]]]).log(), torch.tensor([[[0.25, 0.75]]]).log())
    row = torch.tensor([0])
    assert float(kl(row, "reverse_kl")) == pytest.approx(0.5 * torch.tensor(4 / 3).log().item(), abs=1e-7)
    assert float(kl(row, "forward_kl")) == pytest.approx(0.1308120, abs=1e-6)  # .25 ln .5 + .75 ln 1.5


@pytest.mark.parametrize("temperature", [1.0, 0.6, 1.7])
@pytest.mark.parametrize("direction", DIRECTIONS)
def test_from_logits_equals_autograd(plain, direction, temperature):
    logits, ref = _normal(3, 4, 11).requires_grad_(), _normal(3, 4, 11, seed=1)
    rows, weights = torch.tensor([7, 0, 7, 11]), _normal(4, seed=2)
    got = FullKL.from_logits(logits, ref, temperature)(rows, direction)
    flat, ref_flat = logits.view(12, 11)[rows], ref.view(12, 11)[rows]
    expected = plain.full_kl(flat / temperature, ref_flat / temperature, direction)
    torch.testing.assert_close(got, expected, rtol=1e-13, atol=1e-14)
    mine, theirs = (torch.autograd.grad((weights * x).sum(), logits)[0] for x in (got, expected))
    torch.testing.assert_close(mine, theirs, rtol=1e-12, atol=1e-15)
    assert (got > 0).all()


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_from_hidden_equals_from_logits(direction):
    hidden, ref_hidden = _normal(3, 4, 6).requires_grad_(), _normal(3, 4, 6, seed=1)
    weight, ref_weight = _normal(11, 6, seed=2).requires_grad_(), _normal(11, 6, seed=3)
    rows = torch.tensor([1, 10])
    got = FullKL.from_hidden(hidden, weight, ref_hidden, ref_weight, 1.3)(rows, direction)
    expected = FullKL.from_logits(hidden @ weight.T, ref_hidden @ ref_weight.T, 1.3)(rows, direction)
    torch.testing.assert_close(got, expected)
    for leaf in (hidden, weight):
        mine, theirs = (torch.autograd.grad(x.sum(), leaf, retain_graph=True)[0] for x in (got, expected))
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_is_computed_in_fp32(dtype):
    hidden, weight = _normal(2, 3, 8, dtype=dtype), _normal(40, 8, seed=1, dtype=dtype)
    other = _normal(40, 8, seed=2, dtype=dtype)
    rows = torch.arange(6)
    got = FullKL.from_hidden(hidden.requires_grad_(), weight, hidden.detach(), other)(rows)
    exact = FullKL.from_hidden(hidden.double(), weight.double(), hidden.double(), other.double())(rows)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), exact, rtol=1e-5, atol=1e-6)
    got.sum().backward()
    assert hidden.grad.dtype == dtype


def test_identical_distributions_give_zero_value_and_gradient():
    logits = _normal(1, 5, 9).requires_grad_()
    for direction in DIRECTIONS:
        value = FullKL.from_logits(logits, logits)(torch.arange(5), direction)
        (gradient,) = torch.autograd.grad(value.sum(), logits)
        torch.testing.assert_close(value, torch.zeros(5, dtype=torch.float64), atol=1e-15, rtol=0)
        torch.testing.assert_close(gradient, torch.zeros_like(gradient), atol=1e-15, rtol=0)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_tokens_that_neither_can_sample_are_left_out(plain, direction):
    logits, ref = _normal(1, 2, 6), _normal(1, 2, 6, seed=1)
    holes = [1, 4]
    held = [0, 2, 3, 5]
    cut, ref_cut = logits.clone(), ref.clone()
    cut[..., holes] = ref_cut[..., holes] = -INF
    cut.requires_grad_()
    got = FullKL.from_logits(cut, ref_cut)(torch.arange(2), direction)
    expected = plain.full_kl(logits[0][:, held], ref[0][:, held], direction)
    torch.testing.assert_close(got, expected)
    (gradient,) = torch.autograd.grad(got.sum(), cut)
    assert torch.isfinite(gradient).all()


@pytest.mark.parametrize(("direction", "infinite"), [("reverse_kl", True), ("forward_kl", False)])
def test_an_infinite_divergence_is_nan_with_zero_gradient(direction, infinite):
    logits, ref = _normal(1, 2, 4).requires_grad_(), _normal(1, 2, 4, seed=1)
    ref[0, 0, 2] = -INF
    value = FullKL.from_logits(logits, ref)(torch.arange(2), direction)
    (gradient,) = torch.autograd.grad(value.sum(), logits)
    assert torch.isnan(value).tolist() == [infinite, False]
    assert torch.isfinite(gradient).all()
    assert bool((gradient[0, 0] == 0).all()) is infinite


# --- inside the loss


@pytest.fixture
def tokens(make_tokens):
    return make_tokens(5, 40, seed=2)


def test_only_the_chosen_rows_are_computed(tokens, inputs):
    asked = []

    def full_kl(rows):
        asked.append(rows)
        return rows.double() * 0 + 1.0

    control = KLCov.targeted(count=6, beta=0.5)
    positional, _ = inputs(tokens, None)
    base = policy_loss(*positional).loss
    out = policy_loss(*positional, control=control, full_kl=full_kl)
    assert float((out.loss - base).detach()) == pytest.approx(0.5)
    (rows,) = asked
    assert rows.tolist() == out.tokens["selected"].flatten().nonzero().flatten().tolist()


def test_a_plain_callable_equals_full_kl(tokens, inputs, plain):
    control = KLCov.targeted(count=6)
    positional, optional = inputs(tokens, control)
    logits, ref = tokens.logits.flatten(0, 1), tokens.ref_logits.flatten(0, 1)
    a = policy_loss(*positional, control=control, **optional)
    b = policy_loss(
        *positional,
        control=control,
        full_kl=lambda rows: plain.full_kl(logits[rows], ref[rows], "reverse_kl"),
    )
    torch.testing.assert_close(a.loss, b.loss)
    for mine, theirs in zip(plain.gradients(tokens, a.loss), plain.gradients(tokens, b.loss), strict=True):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("control", [KLCov.targeted(count=6), KLPenalty(0.1, "reverse_kl")])
def test_nonfinite_logits_inside_the_mask(tokens, inputs, control):
    with torch.no_grad():
        tokens.logits[tokens.mask] = float("nan")
    positional, optional = inputs(tokens, control)
    with pytest.raises(InvalidInputError, match="full_kl is not finite at"):
        policy_loss(*positional, control=control, **optional)
    out = policy_loss(*positional, control=control, **optional, validate=False)
    asked = 6 if isinstance(control, KLCov) else int(tokens.mask.sum())
    assert int(out.metrics["entropylab/nonfinite"]) == asked
    assert torch.equal(out.loss, policy_loss(*positional).loss)
    (gradient,) = torch.autograd.grad(out.loss, tokens.logits)
    assert not gradient.any()


def test_shapes_that_do_not_fit(tokens, inputs):
    control = KLCov.targeted(count=6)
    positional, _ = inputs(tokens, None)
    small = FullKL.from_logits(tokens.logits[:2], tokens.ref_logits[:2])
    with pytest.raises(InvalidInputError, match=r"holds 80 positions, the batch \[5, 40\] has 200"):
        policy_loss(*positional, control=control, full_kl=small)
    with pytest.raises(InvalidInputError, match=r"full_kl returned \[3\] for 6 rows"):
        policy_loss(*positional, control=control, full_kl=lambda rows: torch.zeros(3))
    with pytest.raises(InvalidInputError, match="full_kl returned float for 6 rows"):
        policy_loss(*positional, control=control, full_kl=lambda rows: 1.0)
    with pytest.raises(InvalidInputError, match="ref_logits has shape"):
        FullKL.from_logits(tokens.logits, tokens.ref_logits[:2])
    h, w = torch.zeros(5, 40, 6), torch.zeros(9, 6)
    with pytest.raises(InvalidInputError, match=r"weight has shape \[9, 5\].*give \[V, 6\]"):
        FullKL.from_hidden(h, w[:, :5], h, w)
    with pytest.raises(InvalidInputError, match=r"ref_weight has shape \[9, 5\]"):
        FullKL.from_hidden(h, w, h, w[:, :5])
    with pytest.raises(InvalidInputError, match="ref_weight has 8 tokens, weight 9"):
        FullKL.from_hidden(h, w, h, w[:8])
    with pytest.raises(InvalidInputError, match="ref_hidden has shape"):
        FullKL.from_hidden(h, w, h[:2], w)
    with pytest.raises(InvalidInputError, match=r"temperature=0.* is not positive"):
        FullKL.from_logits(tokens.logits, tokens.ref_logits, 0.0)
    with pytest.raises(InvalidInputError, match=r"direction='kl'.*reverse_kl, forward_kl"):
        FullKL.from_logits(tokens.logits, tokens.ref_logits)(torch.arange(2), "kl")
