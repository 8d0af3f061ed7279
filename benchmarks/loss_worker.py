"""Times losses on request, of this package or of verl 0.9.1; started by bench_losses.py, one process a side.

Reads lines ``ROWS LOSS`` (time once) or ``ROWS LOSS peak`` and answers each with one number: CPU seconds of
forward and backward, or MiB by which they raise the highest resident size above inputs and gradient.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import torch

LENGTH = 4096


def make_inputs(rows: int) -> dict[str, torch.Tensor]:
    """fp32 [rows, LENGTH]; GRPO-like: one advantage a response, lengths between half and all."""
    g = torch.Generator().manual_seed(0)
    old = -torch.rand(rows, LENGTH, generator=g).square().mul(2.0)
    lengths = torch.randint(LENGTH // 2, LENGTH + 1, (rows, 1), generator=g)
    return {
        "logprobs": (old + 0.1 * torch.randn(rows, LENGTH, generator=g)).requires_grad_(),
        "old_logprobs": old,
        "advantages": torch.randn(rows, 1, generator=g).expand(rows, LENGTH).contiguous(),
        "mask": (torch.arange(LENGTH) < lengths).float(),
    }


def own_losses() -> dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]]:
    from entropylab import METHODS, policy_loss

    def of(key: str) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
        row = METHODS[key]
        return lambda x: policy_loss(**x, surrogate=row.surrogate, control=row.control, validate=False).loss

    return {"ppo": of("grpo"), "clip_cov": of("clip_cov"), "kl_cov": of("kl_cov_7b")}


def verl_losses() -> dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]]:
    from verl.trainer.ppo.core_algos import get_policy_loss_fn
    from verl.workers.config import ActorConfig, PolicyLossConfig

    def of(name: str, clip: float) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
        policy = PolicyLossConfig(loss_mode=name, kl_cov_ratio=2e-3, ppo_kl_coef=1.0)
        clips = {"clip_ratio": clip, "clip_ratio_low": clip, "clip_ratio_high": clip}
        config = ActorConfig(strategy="fsdp", rollout_n=8, use_dynamic_bsz=True, policy_loss=policy, **clips)
        loss = get_policy_loss_fn(name)

        def call(x: dict[str, torch.Tensor]) -> torch.Tensor:
            return loss(
                old_log_prob=x["old_logprobs"],
                log_prob=x["logprobs"],
                advantages=x["advantages"],
                response_mask=x["mask"],
                loss_agg_mode="token-mean",
                config=config,
            )[0]

        return call

    return {"ppo": of("vanilla", 0.2), "clip_cov": of("clip_cov", 1.0), "kl_cov": of("kl_cov", 0.2)}


def once(loss: Callable[[dict[str, torch.Tensor]], torch.Tensor], inputs: dict[str, torch.Tensor]) -> float:
    inputs["logprobs"].grad = None
    start = time.process_time()
    loss(inputs).backward()
    return time.process_time() - start


def peak(loss: Callable[[dict[str, torch.Tensor]], torch.Tensor], inputs: dict[str, torch.Tensor]) -> float:
    """Linux only: it resets and reads the kernel's high-water mark."""
    gradient = inputs["logprobs"].numel() * 4 / 2**20
    inputs["logprobs"].grad = None
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = _resident("VmRSS")
    loss(inputs).backward()
    return _resident("VmHWM") - before - gradient


def _resident(name: str) -> float:
    with open("/proc/self/status") as file:
        return next(float(line.split()[1]) for line in file if line.startswith(name)) / 1024


def main(side: str) -> None:
    torch.set_num_threads(1)
    losses = own_losses() if side == "own" else verl_losses()
    batches: dict[int, dict[str, torch.Tensor]] = {}
    print("ready", flush=True)
    for line in sys.stdin:
        rows, name, *what = line.split()
        inputs = batches.setdefault(int(rows), make_inputs(int(rows)))
        measure = peak if what else once
        print(measure(losses[name], inputs), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
