"""Inside of what training loops wrap around a loss: checkpoints and torch.compile."""

from __future__ import annotations

import pytest
import torch
from torch.utils.checkpoint import checkpoint

import entropylab as el

CONTROLS = {
    "none": None,
    "chosen": [el.EntropyBonus(0.1), el.ClipCov.top(0.2)],
    "full": el.KLCov.targeted(count=5),
    "batch": el.STEER(),
}
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def _losses(head, fused):
    """Functions of hidden states and weight, by name."""

    def of_op(hidden, weight):
        logprobs, entropy = el.linear_logprob_entropy(hidden * 1.5, weight, head.tokens, mask=head.mask)
        return (logprobs * head.advantages).mean() - 0.1 * entropy.square().mean()

    def of_fused(control):
        def call(hidden, weight):
            point = type(head)(**{**vars(head), "hidden": hidden * 1.5, "weight": weight * 1.0})
            return fused(point, el.PPOClip(), control).loss.square()

        return call

    return {"op": of_op, **{name: of_fused(control) for name, control in CONTROLS.items()}}


def _outcome(call, head):
    hidden, weight = (x.detach().clone().requires_grad_() for x in (head.hidden, head.weight))
    loss = call(hidden, weight)
    loss.backward()
    return loss.detach(), hidden.grad, weight.grad


def _same(found, expected):
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("reentrant", [True, False])
@pytest.mark.parametrize("name", ["op", *CONTROLS])
def test_checkpoint(name, reentrant, make_head, fused):
    """The same, and the function runs twice: once forward, once again backward."""
    head, calls = make_head(), []
    call = _losses(head, fused)[name]

    def counted(hidden, weight):
        calls.append(1)
        return call(hidden, weight)

    expected = _outcome(call, head)
    _same(_outcome(lambda *given: checkpoint(counted, *given, use_reentrant=reentrant), head), expected)
    assert len(calls) == 2


def test_saving_on_the_host(make_head, fused):
    """Hooks for saved tensors, as offloading sets them."""
    head = make_head()
    for call in _losses(head, fused).values():
        expected = _outcome(call, head)
        with torch.autograd.graph.save_on_cpu():
            _same(_outcome(call, head), expected)


@pytest.mark.slow
def test_compile(make_head, fused):
    head = make_head()
    for call in _losses(head, fused).values():
        _same(_outcome(torch.compile(call, backend="aot_eager"), head), _outcome(call, head))


@pytest.mark.slow
def test_compile_of_a_model_with_the_loss(make_head):
    """A layer before and after, so that the graph breaks in between."""
    head = make_head()
    layer = torch.nn.Linear(5, 5, dtype=torch.float64)

    def call(hidden, weight):
        logprobs, entropy = el.linear_logprob_entropy(torch.tanh(layer(hidden)), weight, head.tokens)
        return (logprobs.exp() * entropy).mean()

    _same(_outcome(torch.compile(call, backend="aot_eager"), head), _outcome(call, head))
