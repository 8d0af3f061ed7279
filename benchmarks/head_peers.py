"""What the heads are measured beside on a GPU: plain matrix products, all logits at once, Liger, verl.

Each step takes hidden states [N, d] and the head [V, d] in bf16, with gradient, and the columns [N] of
``make_batch``; it ends with the gradients of a PPO clip, or where it says so with the statistics alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

Batch = Mapping[str, torch.Tensor]
Step = Callable[[], object]
CHUNK = 4096


def products(batch: Batch) -> dict[str, Step]:
    """The matrix products alone, by chunks: forward, forward and gradients, and these with two forwards."""
    states, weight = batch["hidden"].detach(), batch["weight"].detach()
    logits = torch.empty(CHUNK, len(weight), dtype=states.dtype, device=states.device)
    by_states, by_weight = torch.empty_like(states), torch.zeros(weight.shape, device=weight.device)

    def step(forwards: int, gradients: bool) -> Step:
        def run() -> None:
            for start in range(0, len(states), CHUNK):
                chunk = states[start : start + CHUNK]
                out = logits[: len(chunk)]
                for _ in range(forwards):
                    torch.mm(chunk, weight.t(), out=out)
                if gradients:
                    torch.mm(out, weight, out=by_states[start : start + CHUNK])
                    torch.addmm(by_weight, out.t(), chunk, out_dtype=by_weight.dtype, out=by_weight)

        return run

    return {"2NdV": step(1, False), "6NdV": step(1, True), "8NdV": step(2, True)}


def ppo(
    logprobs: torch.Tensor, entropy: torch.Tensor, batch: Batch, places: slice | None = None
) -> torch.Tensor:
    """Token mean of the PPO clip less 0.001 H, over all tokens of the batch."""
    old, advantages = (
        batch[name] if places is None else batch[name][places] for name in ("old", "advantages")
    )
    ratio = torch.exp(logprobs - old)
    clipped = torch.maximum(-advantages * ratio, -advantages * ratio.clamp(0.8, 1.2))
    return (clipped - 0.001 * entropy).sum() / len(batch["old"])


def all_logits(batch: Batch) -> Step:
    """fp32 logits, log-softmax and entropy as trainers write them, in as few pieces as fit."""
    hidden, weight, tokens = (batch[name] for name in ("hidden", "weight", "tokens"))
    rows = _rows_that_fit(len(hidden), len(weight))

    def run() -> None:
        for start in range(0, len(hidden), rows):
            places = slice(start, start + rows)
            logits = (hidden[places] @ weight.t()).float()
            log_p = torch.log_softmax(logits, -1)
            logprobs = log_p.gather(1, tokens[places].unsqueeze(1)).squeeze(1)
            entropy = torch.logsumexp(logits, -1) - (log_p.exp() * logits).sum(-1)
            ppo(logprobs, entropy, batch, places).backward()

    return run


def _rows_that_fit(rows: int, size: int) -> int:
    """About 7 matrices of fp32 are alive at once."""
    free, _ = torch.cuda.mem_get_info()
    while rows > 1 and 28 * rows * size > 0.9 * free:
        rows //= 2
    return rows


def liger(batch: Batch) -> Step:
    def run() -> None:
        from liger_kernel.ops import LigerFusedLinearScaledCrossEntropyFunction as Function

        loss, entropy = Function.apply(batch["hidden"], batch["weight"], batch["tokens"], 1.0, -100, 1, True)
        ppo(-loss.float(), entropy.float(), batch).backward()

    return run


def verl(batch: Batch) -> Step:
    def run() -> None:
        from verl.utils.kernel.linear_cross_entropy import linear_cross_entropy

        found = linear_cross_entropy(batch["hidden"], batch["weight"], batch["tokens"], 1.0, "none")
        ppo(*found, batch).backward()

    return run


def peers(batch: Batch) -> dict[str, Step]:
    """All logits at once, and packages that may be missing."""
    return {"all_logits": all_logits(batch), "liger": liger(batch), "verl": verl(batch)}
