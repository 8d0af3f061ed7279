"""PPO, Clip-Cov and KL-Cov on a GPU at [4096, 8192] fp32: time, memory and share of the copy ceiling.

    python benchmarks/bench_cuda.py

Forward and backward, CUDA events, medians of alternating rounds, as called and under ``torch.compile``. Where
verl 0.9.1 can be imported, its vanilla, clip_cov and kl_cov are timed in the same rounds.

The ceiling is what a device-to-device copy of 2 GiB moves, bytes read plus bytes written. The bytes of a loss
are the least that exact whole-batch selection has to move: PPO reads logprob, old logprob, advantage (fp32)
and mask (bool) and writes the gradient, 17 a token; a covariance needs the means of all tokens first, so
Clip-Cov and KL-Cov read logprob and advantage once more, 25 a token.
"""

from __future__ import annotations

import importlib.util
import statistics
from collections.abc import Callable, Mapping

import torch
from loss_worker import own_losses, verl_losses
from measure import keep

from entropylab import KLCov, policy_loss, select_tokens
from entropylab.losses.surrogates import ImportanceSampling

ROWS, LENGTH, ROUNDS = 4096, 8192, 30
LEAST_BYTES = {"ppo": 17, "clip_cov": 25, "kl_cov": 25}
SELECTED_FROM = 2442, 4096


def make_inputs(rows: int, length: int) -> dict[str, torch.Tensor]:
    """fp32 on the GPU; GRPO-like: one advantage a response, lengths between half and all."""
    g = torch.Generator("cuda").manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=g, device="cuda")

    old = -torch.rand(rows, length, generator=g, device="cuda").square().mul(2.0)
    lengths = torch.randint(length // 2, length + 1, (rows, 1), generator=g, device="cuda")
    return {
        "logprobs": (old + 0.1 * normal(rows, length)).requires_grad_(),
        "old_logprobs": old,
        "advantages": normal(rows, 1).expand(rows, length).contiguous(),
        "mask": torch.arange(length, device="cuda") < lengths,
    }


def copy_ceiling() -> float:
    """Bytes a second of a device-to-device copy."""
    source = torch.randn(2**29, device="cuda")
    target = torch.empty_like(source)
    seconds = statistics.median(timed(lambda: target.copy_(source)) for _ in range(10))
    return 2 * source.nbytes / seconds


def timed(call: Callable[[], object]) -> float:
    """Seconds on the device, launches included."""
    first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    first.record()
    call()
    last.record()
    torch.cuda.synchronize()
    return first.elapsed_time(last) / 1e3


def medians(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Median seconds of each call, in turn."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for number in range(ROUNDS + 3):
        for name, call in calls.items():
            seconds = timed(call)
            if number >= 3:
                times[name].append(seconds)
    return {name: statistics.median(values) for name, values in times.items()}


def peak_gib(call: Callable[[], object], inputs: Mapping[str, torch.Tensor]) -> float:
    """By which a call raises the highest allocation above inputs and gradient."""
    inputs["logprobs"].grad = None
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    call()
    torch.cuda.synchronize()
    return (torch.cuda.max_memory_allocated() - before - inputs["logprobs"].nbytes) / 2**30


def compiled_losses() -> dict[str, Callable[[dict[str, torch.Tensor]], torch.Tensor]]:
    from entropylab import METHODS

    def of(key: str) -> Callable[[dict[str, torch.Tensor]], torch.Tensor]:
        row = METHODS[key]
        call = torch.compile(
            lambda *x: policy_loss(*x, surrogate=row.surrogate, control=row.control, validate=False).loss,
            fullgraph=True,
        )
        return lambda x: call(*x.values())

    return {"ppo": of("grpo"), "clip_cov": of("clip_cov"), "kl_cov": of("kl_cov_7b")}


def loss_figures() -> dict[str, object]:
    """Milliseconds, peaks, bandwidth and ratios of every loss of every side."""
    sides = {"own": own_losses(), "compiled": compiled_losses()}
    if importlib.util.find_spec("verl"):
        sides["verl"] = verl_losses()
    inputs = make_inputs(ROWS, LENGTH)

    def step(loss: Callable[[dict[str, torch.Tensor]], torch.Tensor]) -> Callable[[], None]:
        def call() -> None:
            inputs["logprobs"].grad = None
            loss(inputs).backward()

        return call

    calls = {f"{side}/{name}": step(loss) for side, losses in sides.items() for name, loss in losses.items()}
    seconds = medians(calls)
    ceiling, tokens = copy_ceiling(), ROWS * LENGTH
    moved = {name: LEAST_BYTES[name.split("/")[1]] * tokens / value for name, value in seconds.items()}
    found = {
        "tokens": tokens,
        "copy_ceiling_tb_s": round(ceiling / 1e12, 3),
        "ms": {name: round(1e3 * value, 3) for name, value in seconds.items()},
        "share_of_ceiling": {name: round(value / ceiling, 3) for name, value in moved.items()},
        "peak_gib": {name: round(peak_gib(call, inputs), 3) for name, call in calls.items()},
    }
    if "verl" in sides:
        pairs = [(side, name) for side in ("own", "compiled") for name in LEAST_BYTES]
        over = {f"{s}/{n}": seconds[f"{s}/{n}"] / seconds[f"verl/{n}"] for s, n in pairs}
        found["over_verl"] = {name: round(value, 3) for name, value in over.items()}
    return found


def selection_figures() -> dict[str, object]:
    """Choosing 0.2 % of 1e7 tokens, beside ``torch.topk`` of covariances that are already there."""
    inputs = {name: x.detach() for name, x in make_inputs(*SELECTED_FROM).items()}
    control, surrogate = KLCov(fraction=2e-3, covariance_on="old"), ImportanceSampling()
    covariance = inputs["old_logprobs"].mul(inputs["advantages"]).flatten()
    k = int(2e-3 * covariance.numel())
    seconds = medians(
        {
            "select_tokens": lambda: select_tokens(control, **inputs, surrogate=surrogate, validate=False),
            "torch.topk alone": lambda: covariance.topk(k),
        }
    )
    return {
        "tokens": covariance.numel(),
        "k": k,
        "ms": {name: round(1e3 * value, 3) for name, value in seconds.items()},
    }


def main() -> None:
    if not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    figures = {"device": torch.cuda.get_device_name(), "torch": torch.__version__}
    keep("cuda", {**figures, "losses": loss_figures(), "selection": selection_figures()})


if __name__ == "__main__":
    main()
