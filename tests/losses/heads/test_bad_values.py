"""Wrong labels and states that are not finite: named where values are checked, else counted and left out."""

from __future__ import annotations

import pytest
import torch

import entropylab as el
from entropylab.errors import InvalidInputError

CONTROLS = {
    "none": None,
    "bonus": el.EntropyBonus(0.1),
    "chosen": [el.ClipCov.top(0.2), el.KLCov(fraction=0.2)],
    "reference": el.KLPenalty(0.1),
    "batch": el.STEER(),
    "full": el.KLPenalty(0.1, "reverse_kl"),
}
BAD = (float("nan"), float("inf"), -float("inf"))
OUTSIDE = (2, 16)
"""A position outside the mask."""
INSIDE = (1, 3)


def _batch(make_head):
    head = make_head()
    head.mask[OUTSIDE], head.mask[INSIDE] = False, True
    return head


def _put(head, place, value):
    with torch.no_grad():
        head.hidden[place] = value


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("name", CONTROLS)
def test_states_outside_the_mask_reach_nothing(name, value, make_head, fused, gradients):
    head = _batch(make_head)
    for surrogate in (el.REINFORCE(), el.PPOClip()):
        clean = fused(head, surrogate, CONTROLS[name])
        expected = gradients(head, clean.loss)
        _put(head, OUTSIDE, value)
        head.tokens[OUTSIDE] = -100
        out = fused(head, surrogate, CONTROLS[name])
        assert torch.equal(out.loss, clean.loss)
        for one, other in zip(gradients(head, out.loss), expected, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("cache", [0, 1 << 30])
def test_states_outside_the_mask_of_the_op(value, cache, make_head, gradients):
    head = _batch(make_head)

    def sum_of():
        logprobs, entropy = el.linear_logprob_entropy(
            head.hidden, head.weight, head.tokens, bias=head.bias, mask=head.mask, cache_bytes=cache
        )
        return (logprobs * head.advantages).sum() + entropy.sum()

    expected = gradients(head, sum_of())
    _put(head, OUTSIDE, value)
    head.tokens[OUTSIDE] = -100
    for one, other in zip(gradients(head, sum_of()), expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("value", BAD)
@pytest.mark.parametrize("name", CONTROLS)
def test_states_inside_the_mask(name, value, make_head, fused, gradients):
    """The same as a batch whose mask leaves the token out, and counted."""
    head = _batch(make_head)
    for surrogate in (el.REINFORCE(), el.PPOClip()):
        for reduction in ("token_mean", "seq_mean_token_mean"):
            _put(head, INSIDE, value)
            head.mask[INSIDE] = True
            with pytest.raises(InvalidInputError, match=r"logprobs\[1, 3\] is nan inside the mask"):
                fused(head, surrogate, CONTROLS[name], reduction=reduction)
            out = fused(head, surrogate, CONTROLS[name], validate=False, reduction=reduction)
            found = gradients(head, out.loss)
            head.mask[INSIDE] = False
            clean = fused(head, surrogate, CONTROLS[name], validate=False, reduction=reduction)
            assert int(out.metrics["entropylab/nonfinite"]) == 1
            torch.testing.assert_close(out.loss, clean.loss, rtol=1e-12, atol=1e-14)
            for one, other in zip(found, gradients(head, clean.loss), strict=True):
                torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize("label", [-100, -1, 13, 10**12])
@pytest.mark.parametrize("name", CONTROLS)
def test_labels_outside_the_vocabulary(name, label, make_head, fused, gradients):
    head = _batch(make_head)
    head.tokens[INSIDE] = label
    with pytest.raises(InvalidInputError, match=rf"tokens\[1, 3\] is {label}, outside the vocabulary of 13"):
        fused(head, el.PPOClip(), CONTROLS[name])
    out = fused(head, el.PPOClip(), CONTROLS[name], validate=False)
    found = gradients(head, out.loss)
    assert bool(out.tokens["logprobs"][INSIDE].isnan())
    head.mask[INSIDE] = False
    clean = fused(head, el.PPOClip(), CONTROLS[name], validate=False)
    assert int(out.metrics["entropylab/nonfinite"]) == 1
    torch.testing.assert_close(out.loss, clean.loss, rtol=1e-12, atol=1e-14)
    for one, other in zip(found, gradients(head, clean.loss), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-14)


def test_labels_of_a_padded_vocabulary(make_head, fused):
    head = _batch(make_head)
    head.tokens = head.tokens % 10
    head.tokens[INSIDE] = 11
    with pytest.raises(InvalidInputError, match=r"tokens\[1, 3\] is 11, outside the vocabulary of 10"):
        fused(head, el.PPOClip(), None, vocab_size=10)


@pytest.mark.parametrize("call", [el.token_stats, el.linear_logprob_entropy])
def test_labels_of_statistics_and_op(call, make_head):
    head = _batch(make_head)
    head.tokens[INSIDE] = -100
    with pytest.raises(InvalidInputError, match=r"tokens\[1, 3\] is -100, outside the vocabulary of 13"):
        call(head.hidden, head.weight, head.tokens)
    call(head.hidden, head.weight, head.tokens, mask=head.mask & (head.tokens >= 0))
    got = call(head.hidden, head.weight, head.tokens, validate=False)
    logprobs, entropy = (got.logprobs, got.entropy) if call is el.token_stats else got
    assert logprobs.isnan().nonzero().tolist() == [list(INSIDE)]
    assert bool(entropy.isfinite().all())


def test_the_first_wrong_label_is_named_in_any_shape(make_head):
    head = make_head(1, 12)
    tokens = head.tokens.view(2, 3, 2).clone()
    tokens[1, 0, 1] = tokens[1, 2, 0] = 99
    with pytest.raises(InvalidInputError, match=r"tokens\[1, 0, 1\] is 99"):
        el.token_stats(head.hidden.view(2, 3, 2, 5), head.weight, tokens)


@pytest.mark.parametrize("cache", [0, 1 << 30])
def test_a_gradient_of_zero_keeps_bad_states_out_of_the_heads(cache, make_head, gradients):
    """As policy_loss gives it to tokens that it leaves out; also where nearly all rows have a gradient."""
    head = make_head(4, 64)
    head.mask[:] = True
    _put(head, INSIDE, float("nan"))
    logprobs, entropy = el.linear_logprob_entropy(
        head.hidden, head.weight, head.tokens, bias=head.bias, cache_bytes=cache
    )
    out = el.policy_loss(
        logprobs,
        head.old_logprobs,
        head.advantages,
        head.mask,
        surrogate=el.REINFORCE(),
        control=el.EntropyBonus(0.1),
        entropy=entropy,
        validate=False,
    )
    assert int(out.metrics["entropylab/nonfinite"]) == 1
    assert all(bool(one.isfinite().all()) for one in gradients(head, out.loss))


@pytest.mark.parametrize("name", ["old_logprobs", "advantages", "ref_logprobs"])
def test_other_inputs_that_are_not_finite(name, make_head, fused, gradients):
    head = _batch(make_head)
    given = {"ref_logprobs": head.old_logprobs + 0.1}
    if name != "ref_logprobs":
        given = {}
        getattr(head, name)[INSIDE] = float("nan")
    else:
        given["ref_logprobs"][INSIDE] = float("nan")
    with pytest.raises(InvalidInputError, match=rf"{name}\[1, 3\] is nan inside the mask"):
        fused(head, el.PPOClip(), el.KLPenalty(0.1), **given)
    out = fused(head, el.PPOClip(), el.KLPenalty(0.1), validate=False, **given)
    found = gradients(head, out.loss)
    head.mask[INSIDE] = False
    clean = fused(head, el.PPOClip(), el.KLPenalty(0.1), validate=False, **given)
    for one, other in zip(found, gradients(head, clean.loss), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-11, atol=1e-14)
