"""What stands around the fused loss in a training step: scaling, other losses, frozen parts, no gradient."""

from __future__ import annotations

import pytest
import torch

import entropylab as el
from entropylab.errors import InvalidInputError

CONTROLS = {
    "none": None,
    "bonus": el.EntropyBonus(0.1),
    "chosen": [el.EntropyBonus(0.1), el.ClipCov.top(0.2)],
    "batch": el.STEER(),
    "full": el.KLCov.targeted(count=5),
}


@pytest.mark.parametrize("name", CONTROLS)
def test_scaled_from_above(name, make_head, fused, gradients):
    head = make_head()
    expected = gradients(head, fused(head, el.PPOClip(), CONTROLS[name]).loss)
    for scale in (1 / 7, 2.0**16, -3.0, 0.0):
        found = gradients(head, fused(head, el.PPOClip(), CONTROLS[name]).loss * scale)
        for one, other in zip(found, expected, strict=True):
            torch.testing.assert_close(one, other * scale, rtol=1e-12, atol=0)


def test_a_scaler_of_gradients(make_head, fused, gradients):
    """fp16 weights whose gradients vanish without the scale."""
    head = make_head(dtype=torch.float16)
    expected = gradients(head, fused(head, el.PPOClip(), None).loss * 1e-7 * 2.0**20)
    scaled = gradients(head, fused(head, el.PPOClip(), None).loss * 1e-7 * 2.0**20)
    unscaled = gradients(head, fused(head, el.PPOClip(), None).loss * 1e-7)
    assert torch.equal(scaled[1], expected[1])
    assert float((scaled[1] == 0).float().mean()) < float((unscaled[1] == 0).float().mean())


@pytest.mark.parametrize("name", CONTROLS)
def test_added_to_other_losses(name, make_head, fused, exact, gradients):
    """One of all logits, one of the op, and a second fused loss of the same hidden states."""
    head = make_head()
    control = CONTROLS[name]

    def others():
        logprobs, entropy = el.linear_logprob_entropy(head.hidden, head.weight, head.tokens, bias=head.bias)
        return logprobs.mean() + entropy.square().mean() + exact.logprobs(head).square().mean()

    mine = others() + fused(head, el.PPOClip(), control).loss + 0.5 * fused(head, el.REINFORCE(), None).loss
    theirs = others() + exact.loss(head, el.PPOClip(), control).loss
    theirs = theirs + 0.5 * exact.loss(head, el.REINFORCE(), None).loss
    for one, other in zip(gradients(head, mine), gradients(head, theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize(
    "frozen", [("hidden",), ("weight",), ("bias",), ("hidden", "bias"), ("weight", "bias")]
)
@pytest.mark.parametrize("name", CONTROLS)
def test_frozen_parts(name, frozen, make_head, fused, exact, agree):
    head = make_head()
    for part in frozen:
        getattr(head, part).requires_grad_(False)
    agree(head, *(f(head, el.PPOClip(), CONTROLS[name]) for f in (fused, exact.loss)))


@pytest.mark.parametrize("name", CONTROLS)
def test_without_gradient(name, make_head, fused, exact):
    head = make_head()
    expected = exact.loss(head, el.PPOClip(), CONTROLS[name]).loss.detach()
    for context in (torch.no_grad, torch.inference_mode):
        with context():
            out = fused(head, el.PPOClip(), CONTROLS[name])
        torch.testing.assert_close(out.loss, expected)
        assert not out.loss.requires_grad
        assert out.tokens["entropy"].shape == head.mask.shape
    for leaf in (head.hidden, head.weight, head.bias):
        leaf.requires_grad_(False)
    out = fused(head, el.PPOClip(), CONTROLS[name])
    torch.testing.assert_close(out.loss, expected)
    assert not out.loss.requires_grad


def test_a_tied_embedding_sums_both_gradients(make_head, fused, exact):
    head, found = make_head(biased=False), []
    table = head.weight.detach().clone()
    for call in (fused, exact.loss):
        head.weight = table.clone().requires_grad_()
        head.hidden = torch.tanh(head.weight[head.tokens.roll(1, 1)] + head.ref_hidden)
        call(head, el.PPOClip(), el.EntropyBonus(0.1)).loss.backward()
        found.append(head.weight.grad)
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-13)


@pytest.mark.parametrize("keeping", [True, False])
def test_a_second_backward_raises(keeping, make_head, fused):
    head = make_head()
    loss = fused(head, el.PPOClip(), None).loss
    loss.backward(retain_graph=keeping)
    with pytest.raises(InvalidInputError, match=r"went backward twice.*linear_logprob_entropy"):
        loss.backward()


def test_the_second_derivative_raises(make_head, fused):
    head = make_head()
    (gradient,) = torch.autograd.grad(
        fused(head, el.PPOClip(), None).loss.square(), head.hidden, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


class _Again(torch.autograd.Function):
    """A scalar function with a gradient that may be asked for as often as gradcheck likes."""

    @staticmethod
    def forward(ctx, call, *tensors):
        with torch.enable_grad():
            leaves = [one.detach().requires_grad_() for one in tensors]
            loss = call(*leaves)
            ctx.save_for_backward(*torch.autograd.grad(loss, leaves))
        return loss.detach()

    @staticmethod
    def backward(ctx, gradient):
        return (None, *(gradient * one for one in ctx.saved_tensors))


SMOOTH = {
    "none": None,
    "bonus": el.EntropyBonus(0.1),
    "chosen": [
        el.EntropyBonus(0.1),
        el.ClipCov(fraction=0.3, select="top"),
        el.KLCov(count=3, divergence="k3"),
    ],
    "full": el.KLCov.targeted(count=3),
}
"""Of which the gradient is that of the value: nothing is detached."""
SURROGATES = (el.REINFORCE(), el.ImportanceSampling(), el.GSPO(0.9, 9.0))
PAIRS = [(one, name) for one in SURROGATES for name in SMOOTH if (type(one), name) != (el.GSPO, "chosen")]
"""A token that leaves a response whose ratio GSPO clips takes its value alone along."""


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(("surrogate", "name"), PAIRS)
def test_gradcheck(surrogate, name, make_head, fused):
    """No ratio is clipped and no choice is near a tie, so the loss is smooth around the point."""
    head = make_head(2, 5, 3, 5, seed=8, drift=0.1)
    head.advantages = head.advantages[:, 0].contiguous()

    def call(hidden, weight, bias):
        point = type(head)(**{**vars(head), "hidden": hidden, "weight": weight, "bias": bias})
        return fused(point, surrogate, SMOOTH[name], chunk_rows=4).loss

    leaves = (head.hidden, head.weight, head.bias)
    assert torch.autograd.gradcheck(lambda *given: _Again.apply(call, *given), leaves, fast_mode=True)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_training_steps_as_with_all_logits(make_head, fused, exact):
    """Twenty steps of AdamW from the same start end at the same weights."""
    ends = []
    for call in (fused, exact.loss):
        head = make_head(4, 9, seed=3)
        model = torch.nn.Linear(5, 5, dtype=torch.float64)
        torch.nn.init.eye_(model.weight)
        torch.nn.init.zeros_(model.bias)
        inputs = head.hidden.detach()
        optimiser = torch.optim.AdamW([*model.parameters(), head.weight, head.bias], lr=1e-2)
        for step in range(20):
            head.hidden = model(inputs)
            optimiser.zero_grad()
            control = [el.EntropyBonus(1e-2), el.KLCov(fraction=0.1)]
            call(head, el.PPOClip(), control, seed=1, step=step).loss.backward()
            optimiser.step()
        ends.append(torch.cat([head.weight.detach().flatten(), model.weight.detach().flatten()]))
    torch.testing.assert_close(*ends, rtol=1e-8, atol=1e-10)
