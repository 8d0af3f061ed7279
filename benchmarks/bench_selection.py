"""Statistics, covariance and top-k (0.2 %) of 1e7 tokens, one thread, beside two floors of the same run.

Floors: ``blocked_pass``, the sums of logprobs and advantages and their centred product by blocks of 64k
tokens without any check or mask; ``sampled_top_k``, a threshold from every 64th token and a top-k of what
passes it, exact only where enough passes. ``select_tokens`` does all of it and more: masks, non-finite
values, sums that are the same in any order, ties by identity, the list of chosen tokens.
"""

from __future__ import annotations

import math

import torch
from measure import alternate, keep

from entropylab import KLCov, select_tokens
from entropylab.losses.covariance import means_of
from entropylab.losses.ranking import Covariances, rank
from entropylab.losses.selection import first_by_key
from entropylab.losses.surrogates import ImportanceSampling
from entropylab.losses.survey import survey

ROWS, LENGTH, FRACTION, BLOCK = 2442, 4096, 2e-3, 2**16
CONTROL = KLCov(fraction=FRACTION, covariance_on="old")


def make_inputs() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    old = -torch.rand(ROWS, LENGTH, generator=g).square().mul(2.0)
    advantages = torch.randn(ROWS, 1, generator=g).expand(ROWS, LENGTH).contiguous()
    mask = torch.ones(ROWS, LENGTH, dtype=torch.bool)
    return {"logprobs": old, "old_logprobs": old, "advantages": advantages, "mask": mask}


def blocked_pass(logprobs: torch.Tensor, advantages: torch.Tensor, out: torch.Tensor) -> None:
    """The first floor: two reads, one write."""
    pairs = list(zip(logprobs.split(BLOCK), advantages.split(BLOCK), strict=True))
    n = len(logprobs)
    mean_l = float(sum(l.sum(dtype=torch.float64) for l, _ in pairs)) / n
    mean_a = float(sum(a.sum(dtype=torch.float64) for _, a in pairs)) / n
    for (l, a), target in zip(pairs, out.split(BLOCK), strict=True):
        torch.mul(l - mean_l, a - mean_a, out=target)


def sampled_top_k(covariance: torch.Tensor, k: int) -> torch.Tensor:
    """The second floor."""
    sample = covariance[::64]
    threshold = sample.topk(math.ceil(1.2 * k / 64)).values[-1]
    passed = torch.cat([part[part >= threshold] for part in covariance.split(BLOCK)])
    assert len(passed) >= k
    return passed.topk(k).values


def main() -> None:
    torch.set_num_threads(1)
    inputs = make_inputs()
    flat_l, flat_a = inputs["old_logprobs"].flatten(), inputs["advantages"].flatten()
    covariance, k = torch.empty_like(flat_l), int(FRACTION * ROWS * LENGTH)
    blocked_pass(flat_l, flat_a, covariance)
    surrogate, given = ImportanceSampling(), {**inputs, "sample_ids": None, "seed": 0, "step": 0}
    found = survey(given, surrogate, covariance_on="old", with_loss=False)
    covariances = Covariances(found, means_of(found.moments), "old")
    keys = rank(covariances, (CONTROL,), (k,)).keys[0]
    count = torch.tensor(k)

    def selected() -> object:
        return select_tokens(CONTROL, **inputs, surrogate=surrogate, validate=False)

    times = alternate(
        {
            "floor: blocked pass": lambda: blocked_pass(flat_l, flat_a, covariance),
            "floor: sampled top-k": lambda: sampled_top_k(covariance, k),
            "plain torch.topk": lambda: covariance.topk(k),
            "first pass": lambda: survey(given, surrogate, covariance_on="old", with_loss=False),
            "second pass": lambda: rank(covariances, (CONTROL,), (k,)),
            "exact top-k": lambda: first_by_key(keys, count, k, found.sample_ids),
            "select_tokens": selected,
        },
        rounds=9,
    )
    own = selected()
    assert float(own.threshold) == float(covariance.topk(k).values[-1])
    floors = times["floor: blocked pass"] + times["floor: sampled top-k"]
    figures = {
        "tokens": ROWS * LENGTH,
        "k": k,
        "cpu_ms": {name: round(1e3 * seconds, 2) for name, seconds in times.items()},
        "second_pass_and_top_k_over_floors": round((times["second pass"] + times["exact top-k"]) / floors, 3),
        "top_k_over_sampled": round(times["exact top-k"] / times["floor: sampled top-k"], 3),
        "select_tokens_over_floors": round(times["select_tokens"] / floors, 3),
    }
    keep("selection", figures)


if __name__ == "__main__":
    main()
