"""From hidden states to the gradient of a PPO loss with an entropy bonus: process CPU time and memory, fp32.

    pip install --no-deps --target peers verl==0.9.1 liger-kernel==0.8.5
    python benchmarks/bench_heads.py --peers peers

N = 2048 tokens, d = 1024, V = 32768. The floor is the three matrix products that no way can do without:
logits, and the gradients of hidden states and weight. Memory: the highest resident set of the process over
the one before the call, less the gradients themselves. TRL is that of the environment.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import torch
from measure import alternate, keep
from torch import Tensor
from torch.utils.checkpoint import checkpoint

import entropylab as el
from entropylab.losses.heads.row_kernels import VARIABLE

B, T, D, V = 8, 256, 1024, 32768
BONUS = 5e-3
CHUNK = 512
ROUNDS = 3
MIB = 1 << 20

Statistics = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""hidden [N, d], weight [V, d], tokens [N] -> log-probabilities and entropies [N]."""


def naive(hidden: Tensor, weight: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """All logits at once."""
    logp = (hidden @ weight.t()).log_softmax(-1)
    return logp.gather(-1, tokens.unsqueeze(-1)).squeeze(-1), -(logp.exp() * logp).sum(-1)


def checkpointed(hidden: Tensor, weight: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """All logits of 512 rows at once, made again in the backward pass."""
    parts = [
        checkpoint(naive, hidden[i : i + CHUNK], weight, tokens[i : i + CHUNK], use_reentrant=False)
        for i in range(0, len(hidden), CHUNK)
    ]
    logprobs, entropy = zip(*parts, strict=True)
    return torch.cat(logprobs), torch.cat(entropy)


def load(path: Path) -> ModuleType | None:
    """A module by its file, without its package."""
    if not path.is_file():
        return None
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def peers(folder: Path | None) -> dict[str, Statistics]:
    """What is installed of TRL, verl and Liger."""
    found: dict[str, Statistics] = {}
    try:
        from trl.kernels import ChunkedLogProbFunction

        def trl(hidden: Tensor, weight: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
            args = (hidden, weight, None, tokens, 1.0, 8192, None, 1.0, ("entropy",))
            return ChunkedLogProbFunction.apply(*args)[:2]

        found["trl tiles"] = trl
    except ImportError:
        print("TRL's tiles are left out: this TRL has none.")
    folder = folder or Path("peers")
    verl = load(folder / "verl/utils/experimental/torch_functional.py")
    liger = load(folder / "liger_kernel/ops/fused_linear_scaled_cross_entropy.py")
    if verl is not None:
        apply = verl.FusedLinearForPPOFunction.apply
        found["verl"] = lambda hidden, weight, tokens: apply(hidden, weight, tokens, 1.0, CHUNK)
    if liger is not None:
        scaled = liger.LigerFusedLinearScaledCrossEntropyFunction.apply

        def ligers(hidden: Tensor, weight: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
            nll, entropy = scaled(hidden, weight, tokens, return_entropy=True)[:2]
            return -nll, entropy

        found["liger"] = ligers
    for name in {"verl", "liger"} - found.keys():
        print(f"{name} is left out: give the folder that holds it with --peers.")
    return found


def make_candidates(others: dict[str, Statistics]) -> dict[str, Callable[[], object]]:
    """Every way from the same hidden states to the same gradients."""
    torch.manual_seed(0)
    hidden = (0.5 * torch.randn(B, T, D)).requires_grad_()
    weight = (0.02 * torch.randn(V, D)).requires_grad_()
    tokens, advantages = torch.randint(0, V, (B, T)), torch.randn(B)
    mask = torch.ones(B, T, dtype=torch.bool)
    old = el.token_stats(hidden.detach(), weight.detach(), tokens).logprobs + 0.1 * torch.randn(B, T)
    bonus = el.EntropyBonus(BONUS)

    def products() -> None:
        with torch.no_grad():
            flat = hidden.flatten(0, 1)
            logits = flat @ weight.t()
            _ = logits @ weight, logits.t() @ flat

    def of(statistics: Statistics) -> Callable[[], None]:
        def run() -> None:
            logprobs, entropy = statistics(hidden.flatten(0, 1), weight, tokens.flatten())
            shaped = logprobs.view(B, T), entropy.view(B, T)
            loss = el.policy_loss(shaped[0], old, advantages, mask, control=bonus, entropy=shaped[1]).loss
            torch.autograd.grad(loss, (hidden, weight))

        return run

    def fused(control: object, **settings: object) -> Callable[[], None]:
        def run() -> None:
            out = el.fused_policy_loss(
                hidden, weight, tokens, old, advantages, mask, control=control, **settings
            )
            torch.autograd.grad(out.loss, (hidden, weight))

        return run

    def compiled(run: Callable[[], None]) -> Callable[[], None]:
        def in_compiled_rows() -> None:
            os.environ[VARIABLE] = "compiled"
            run()
            del os.environ[VARIABLE]

        return in_compiled_rows

    cache = 4 * B * T * V
    return {
        "three products": products,
        "naive": of(naive),
        "checkpoint 512": of(checkpointed),
        **{name: of(statistics) for name, statistics in others.items()},
        "ours, one pass": fused(bonus),
        "ours, one pass 512": fused(bonus, chunk_rows=512),
        "ours, one pass, Clip-Cov": fused([bonus, el.ClipCov.top(fraction=2e-3)]),
        "ours, one pass, KL-Cov": fused([bonus, el.KLCov.paper("7B")]),
        "ours, one pass, compiled": compiled(fused(bonus)),
        "ours, one pass, compiled 512": compiled(fused(bonus, chunk_rows=512)),
        "ours, one pass, compiled 768": compiled(fused(bonus, chunk_rows=768)),
        "ours, op, made again": of(el.linear_logprob_entropy),
        "ours, op, kept": of(lambda *args: el.linear_logprob_entropy(*args, cache_bytes=cache)),
    }


def extra_mib(run: Callable[[], object]) -> float:
    """The highest resident set over the present one while it runs."""
    Path("/proc/self/clear_refs").write_text("5")
    before = _status("VmRSS")
    run()
    return (_status("VmHWM") - before) / MIB


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{name}:"))


def main() -> None:
    """Time and weigh every candidate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--peers", type=Path, metavar="FOLDER")
    candidates = make_candidates(peers(parser.parse_args(sys.argv[1:]).peers))
    seconds = alternate(candidates, rounds=ROUNDS)
    floor = seconds["three products"]
    gradients = 4 * (B * T * D + V * D) / MIB
    keep(
        "heads",
        {
            "shape": {"tokens": B * T, "d": D, "V": V},
            "cpu_seconds": {name: round(value, 2) for name, value in seconds.items()},
            "over_three_products": {name: round(value / floor, 3) for name, value in seconds.items()},
            "workspace_mib": {name: round(extra_mib(run) - gradients, 1) for name, run in candidates.items()},
        },
    )


if __name__ == "__main__":
    main()
