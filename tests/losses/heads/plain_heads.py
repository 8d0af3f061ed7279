"""Small heads, and the same numbers from all logits at once in fp64."""

from __future__ import annotations

from types import SimpleNamespace

import torch

import entropylab as el

LEAVES = ("hidden", "weight", "bias")
HEAD = ("temperature", "softcap", "vocab_size")
NEEDED = ("tokens", "old_logprobs", "advantages", "mask")


def make_head(
    rows=3,
    length=17,
    width=5,
    vocabulary=13,
    *,
    seed=0,
    dtype=torch.float64,
    biased=True,
    scale=1.0,
    drift=0.3,
):
    """Hidden states, heads and tokens of a batch; ``drift``: how far the old and the reference policy are."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=g, dtype=torch.float64)

    head = SimpleNamespace(
        hidden=normal(rows, length, width),
        weight=scale * normal(vocabulary, width),
        bias=normal(vocabulary) if biased else None,
        tokens=torch.randint(0, vocabulary, (rows, length), generator=g),
        advantages=1.5 * normal(rows, length),
        mask=torch.arange(length) < torch.randint(length // 3, length + 1, (rows, 1), generator=g),
    )
    head.ref_hidden = head.hidden + drift * normal(rows, length, width)
    head.ref_weight = head.weight + drift * scale * normal(vocabulary, width)
    head.ref_bias = normal(vocabulary) if biased else None
    for name in (*LEAVES, "ref_hidden", "ref_weight", "ref_bias"):
        if getattr(head, name) is not None:
            setattr(head, name, getattr(head, name).to(dtype))
    head.old_logprobs = logprobs_of(head).detach() + drift * normal(rows, length)
    for name in LEAVES:
        if getattr(head, name) is not None:
            getattr(head, name).requires_grad_()
    return head


def distribution(hidden, weight, bias=None, *, temperature=1.0, softcap=None, vocab_size=None):
    """log p [..., V] in fp64."""
    logits = hidden.double() @ weight.double().T
    if bias is not None:
        logits = logits + bias.double()
    if softcap is not None:
        logits = softcap * torch.tanh(logits / softcap)
    return (logits / temperature)[..., :vocab_size].log_softmax(-1)


def logprobs_of(head, **settings):
    return distribution(head.hidden, head.weight, head.bias, **settings).gather(
        -1, head.tokens.unsqueeze(-1)
    )[..., 0]


def entropy_of(log_p):
    return -(log_p.exp() * log_p).sum(-1)


def kl_of(log_p, log_q, direction):
    outer, gap = (log_p, log_p - log_q) if direction == "reverse_kl" else (log_q, log_q - log_p)
    return (outer.exp() * gap).sum(-1)


def direction_of(control):
    controls = control if isinstance(control, (list, tuple)) else [control]
    named = [getattr(one, "divergence", None) for one in controls]
    return next((one for one in named if one in ("reverse_kl", "forward_kl")), "reverse_kl")


def plain_loss(head, surrogate, control, **keywords):
    """``policy_loss`` of all logits in fp64."""
    settings = {name: keywords.pop(name) for name in HEAD if name in keywords}
    log_p = distribution(head.hidden, head.weight, head.bias, **settings)
    log_q = distribution(head.ref_hidden, head.ref_weight, head.ref_bias, **settings)
    taken = [one.gather(-1, head.tokens.unsqueeze(-1))[..., 0] for one in (log_p, log_q)]
    whole = kl_of(log_p, log_q, direction_of(control)).flatten()
    given = {"entropy": entropy_of(log_p), "ref_logprobs": taken[1], "full_kl": lambda rows: whole[rows]}
    return el.policy_loss(
        taken[0],
        head.old_logprobs,
        head.advantages,
        head.mask,
        surrogate=surrogate,
        control=control,
        **{**given, **keywords},
    )


def fused_loss(head, surrogate, control, **keywords):
    """``fused_policy_loss`` of it, by chunks of 16 rows."""
    given = {name: getattr(head, name) for name in ("bias", "ref_hidden", "ref_weight", "ref_bias")}
    return el.fused_policy_loss(
        head.hidden,
        head.weight,
        *(getattr(head, name) for name in NEEDED),
        surrogate=surrogate,
        control=control,
        **{"chunk_rows": 16, **given, **keywords},
    )


def gradients_of(head, loss, **keywords):
    """Of hidden states, weight and bias, as far as they have one."""
    leaves = [getattr(head, name) for name in LEAVES]
    leaves = [one for one in leaves if one is not None and one.requires_grad]
    grads = torch.autograd.grad(loss, leaves, allow_unused=True, **keywords)
    return [torch.zeros_like(x) if g is None else g for x, g in zip(leaves, grads, strict=True)]


def assert_agree(head, mine, theirs, *, rtol=1e-10, atol=1e-13):
    """Losses and gradients are equal."""
    torch.testing.assert_close(mine.loss, theirs.loss, rtol=rtol, atol=atol, check_dtype=False)
    pairs = zip(gradients_of(head, mine.loss), gradients_of(head, theirs.loss), strict=True)
    for one, other in pairs:
        torch.testing.assert_close(one, other, rtol=rtol, atol=atol, check_dtype=False)
