"""Logprobs, entropies and losses from hidden states on a GPU: time and memory over those of plain products.

    python benchmarks/bench_heads_cuda.py [--tokens 32768 --width 3584 --vocabulary 152064 --rounds 7]

bf16 inputs, fp32 logits; CUDA events, medians of alternating rounds. ``2NdV``, ``6NdV`` and ``8NdV``: the
matrix products alone, the floor of a forward pass, of one with gradients, and of one whose logits are made
twice. ``forward``: ``token_stats``. ``one_pass/...``: ``fused_policy_loss`` with gradients. ``op/...``:
``linear_logprob_entropy`` and its backward pass. ``torch/...``: the same through pure torch, not Triton.
Peers: all logits, and Liger and verl where they can be imported. Memory is what a step takes beyond its
inputs and the bf16 gradients it leaves; sums of gradients in fp32 count.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Callable, Mapping

import torch
from head_peers import peers, ppo, products
from measure import keep

from entropylab import ClipCov, EntropyBonus, KLCov, fused_policy_loss, linear_logprob_entropy, token_stats
from entropylab.losses.heads.row_kernels import VARIABLE

Step = Callable[[], object]
RESPONSES = 8
FLOORS = {"forward": "2NdV", "one_pass": "6NdV", "op/cache": "6NdV", "op/recompute": "8NdV"}
CONTROLS = {
    "ppo": [EntropyBonus(0.001)],
    "clip_cov": [ClipCov.paper(), EntropyBonus(0.001)],
    "kl_cov": [KLCov(fraction=2e-3), EntropyBonus(0.001)],
}


def make_batch(tokens: int, width: int, vocabulary: int) -> dict[str, torch.Tensor]:
    """Hidden states [N, d] and head [V, d] in bf16 with gradient; logits of about ±15; columns [N]."""
    g = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, device="cuda")

    weight = (normal(vocabulary, width) * 3 / width**0.5).bfloat16()
    batch = {
        "hidden": normal(tokens, width).bfloat16(),
        "weight": weight,
        "tokens": torch.randint(vocabulary, (tokens,), generator=g, device="cuda"),
        "advantages": normal(tokens),
    }
    old = token_stats(*(batch[name] for name in ("hidden", "weight", "tokens"))).logprobs
    batch["old"] = old + 0.05 * normal(tokens)
    return batch | {name: batch[name].requires_grad_() for name in ("hidden", "weight")}


def own(batch: Mapping[str, torch.Tensor]) -> dict[str, Step]:
    """Forward pass, one pass with each control, and the differentiable statistics kept and made again."""
    hidden, weight, tokens = (batch[name] for name in ("hidden", "weight", "tokens"))
    rows = [batch[name].view(RESPONSES, -1) for name in ("tokens", "old", "advantages")]
    mask = torch.ones_like(rows[0], dtype=torch.bool)

    def one_pass(control: object) -> Step:
        def run() -> None:
            states = hidden.view(RESPONSES, -1, hidden.shape[-1])
            fused_policy_loss(states, weight, *rows, mask, control=control, validate=False).loss.backward()

        return run

    def op(cache_bytes: int) -> Step:
        def run() -> None:
            found = linear_logprob_entropy(hidden, weight, tokens, cache_bytes=cache_bytes, validate=False)
            ppo(*found, batch).backward()

        return run

    kept = len(hidden) * len(weight) * hidden.dtype.itemsize
    return {
        "forward": lambda: token_stats(hidden, weight, tokens, validate=False),
        **{f"one_pass/{name}": one_pass(control) for name, control in CONTROLS.items()},
        "op/cache": op(kept),
        "op/recompute": op(0),
    }


def through(kernels: str, step: Step) -> Step:
    """The step with rows of logits through ``torch`` or ``triton``."""

    def run() -> None:
        os.environ[VARIABLE] = kernels
        try:
            step()
        finally:
            del os.environ[VARIABLE]

    return run


def timed(step: Step) -> float:
    """Seconds on the device, launches included."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    step()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3


def medians(steps: Mapping[str, Step], clear: Step, rounds: int) -> dict[str, float]:
    """Median seconds of each step, in turn, without gradients left from another."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for number in range(rounds + 1):
        for name, step in steps.items():
            clear()
            seconds = timed(step)
            if number:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def extra_gib(step: Step, clear: Step, gradients: int) -> float:
    """By which a step raises the highest allocation, without ``gradients`` bytes where it leaves them."""
    clear()
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    step()
    torch.cuda.synchronize()
    left = min(torch.cuda.memory_allocated() - before, gradients)
    return (torch.cuda.max_memory_allocated() - before - left) / 2**30


def runs(name: str, step: Step, clear: Step) -> bool:
    """Whether a step runs here; the reason is printed where it does not."""
    clear()
    try:
        step()
    except (RuntimeError, ImportError, AssertionError) as error:
        print(f"{name} is left out: {type(error).__name__}: {str(error)[:200]}")
        return False
    finally:
        clear()
        torch.cuda.empty_cache()
    return True


def ratios(seconds: Mapping[str, float]) -> dict[str, float]:
    """Each own step over its floor, the controls over PPO, and the peers over the one pass with PPO."""
    found = {
        f"{name} / {floor}": seconds[name] / seconds[floor]
        for start, floor in FLOORS.items()
        for name in seconds
        if name.startswith(start) and floor in seconds
    }
    base = "one_pass/ppo"
    if base in seconds:
        beside = ("one_pass/clip_cov", "one_pass/kl_cov", f"torch/{base}", "all_logits", "liger", "verl")
        found |= {f"{name} / {base}": seconds[name] / seconds[base] for name in beside if name in seconds}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, value in (("tokens", 32_768), ("width", 3584), ("vocabulary", 152_064), ("rounds", 7)):
        parser.add_argument(f"--{name}", type=int, default=value)
    asked = parser.parse_args()
    if not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    batch = make_batch(asked.tokens, asked.width, asked.vocabulary)
    leaves = batch["hidden"], batch["weight"]

    def clear() -> None:
        for leaf in leaves:
            leaf.grad = None

    ours = own(batch)
    floors = products(batch)
    plain = {f"torch/{name}": through("torch", ours[name]) for name in ("forward", "one_pass/ppo")}
    steps = {**floors, **ours, **plain, **peers(batch)}
    steps = {name: step for name, step in steps.items() if runs(name, step, clear)}
    gradients = sum(leaf.nbytes for leaf in leaves)
    memory = {name: extra_gib(step, clear, gradients) for name, step in steps.items() if name not in floors}
    seconds = medians(steps, clear, asked.rounds)
    work = asked.tokens * asked.width * asked.vocabulary
    figures = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "shape": {"N": asked.tokens, "d": asked.width, "V": asked.vocabulary},
        "ms": {name: round(1e3 * value, 2) for name, value in seconds.items()},
        "tflops_of_products": {
            name: round(int(name[0]) * work / seconds[name] / 1e12) for name in floors if name in seconds
        },
        "extra_gib": {name: round(value, 3) for name, value in memory.items()},
        "ratios": {name: round(value, 3) for name, value in ratios(seconds).items()},
    }
    keep("heads_cuda", figures)


if __name__ == "__main__":
    main()
