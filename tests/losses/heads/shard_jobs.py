"""What is compared between one process and several that split the vocabulary."""

from __future__ import annotations

import torch

import entropylab as el

CONTROLS = {
    "none": None,
    "bonus": el.EntropyBonus(0.1),
    "clip_cov": el.ClipCov.top(0.2),
    "band": el.ClipCov(fraction=0.1, low=0.1, high=9.0),
    "kl_cov": el.KLCov(fraction=0.2, divergence="k2"),
    "both": [el.EntropyBonus(0.1), el.ClipCov.top(0.1), el.KLCov(fraction=0.2)],
    "batch": el.STEER(),
    "reference": el.KLPenalty(0.1),
}
STATISTICS = ("logprobs", "entropy", "logsumexp", "top_logprob", "top_token", "varentropy")


def outcome(head, leaves, reference, shard, settings):
    """Statistics, the op and the fused loss with their gradients; ``leaves``: hidden, weight and bias."""
    hidden, weight, bias = leaves
    shared = {"bias": bias, "shard": shard, **settings}
    stats = el.token_stats(hidden, weight, head.tokens, mask=head.mask, top=True, varentropy=True, **shared)
    found = {name: getattr(stats, name) for name in STATISTICS}
    for cache in (0, 1 << 30):
        logprobs, entropy = el.linear_logprob_entropy(
            hidden, weight, head.tokens, mask=head.mask, cache_bytes=cache, **shared
        )
        loss = (logprobs * head.advantages).sum() + entropy.square().mean()
        _put(found, f"op {cache}", loss, leaves)
    for name, control in CONTROLS.items():
        out = el.fused_policy_loss(
            hidden,
            weight,
            head.tokens,
            head.old_logprobs,
            head.advantages,
            head.mask,
            control=control,
            ref_hidden=reference[0],
            ref_weight=reference[1],
            ref_bias=reference[2],
            **shared,
        )
        found[f"{name} selected"] = out.tokens["selected"]
        _put(found, name, out.loss, leaves)
    return found


def _put(found, name, loss, leaves):
    found[f"{name} loss"] = loss.detach()
    grads = torch.autograd.grad(loss, leaves)
    found |= {f"{name} d {part}": one for part, one in zip(("hidden", "weight", "bias"), grads, strict=True)}


def run(job):
    """The outcome of this rank's rows of the vocabulary."""
    start, stop, total = job["rows"]
    head = job["head"]
    hidden, weight, bias = head.hidden, head.weight[start:stop], head.bias[start:stop]
    leaves = [x.detach().clone().requires_grad_() for x in (hidden, weight, bias)]
    reference = head.ref_hidden, head.ref_weight[start:stop], head.ref_bias[start:stop]
    shard = None if (start, stop) == (0, total) else el.VocabShard(start, total)
    return outcome(head, leaves, reference, shard, job["settings"])
