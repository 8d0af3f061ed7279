"""PPO, Clip-Cov and KL-Cov on a GPU, fp32: time, memory, and share of the copy ceiling at [4096, 8192].

    python benchmarks/bench_cuda.py

Forward and backward, CUDA events, medians of alternating rounds. ``own``, ``compiled`` (``torch.compile``)
and, where verl 0.9.1 can be imported, its vanilla, clip_cov and kl_cov, each as called from Python: what the
host takes to launch it counts. ``graph/...``: the same calls replayed from a CUDA graph, the time of the
device alone; verl waits for the host, so it cannot be captured.

The ceiling is what a device-to-device copy of 2 GiB moves, bytes read plus bytes written. Two shares of it,
by the bytes a token. ``passes``: what the passes over all tokens move when each is one kernel. A pass reads
logprob, old logprob, advantage (fp32) and mask (bool), 13; the forward writes a slope, the backward reads it
and writes the gradient, 12; a covariance needs the means first, so Clip-Cov and KL-Cov make one more pass.
``least``: were the incoming gradient known in the forward and nothing read twice without need: 17, and 25
where logprob and advantage have to be read once more.
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

SHAPES, ROUNDS = ((64, 4096), (4096, 8192)), 30
BYTES = {
    "passes": {"ppo": 25, "clip_cov": 38, "kl_cov": 38},
    "least": {"ppo": 17, "clip_cov": 25, "kl_cov": 25},
}
LOSSES = ("ppo", "clip_cov", "kl_cov")
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


def graphed(call: Callable[[], object]) -> Callable[[], None]:
    """The call, recorded once and replayed; raises where it waits for the host."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()
    return graph.replay


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
            dynamic=False,
        )
        return lambda x: call(*x.values())

    return {"ppo": of("grpo"), "clip_cov": of("clip_cov"), "kl_cov": of("kl_cov_7b")}


def loss_figures(rows: int, length: int, ceiling: float) -> dict[str, object]:
    """Milliseconds, peaks, bandwidth and ratios of every loss of every side."""
    sides = {"own": own_losses(), "compiled": compiled_losses()}
    if importlib.util.find_spec("verl"):
        sides["verl"] = verl_losses()
    inputs = make_inputs(rows, length)

    def step(loss: Callable[[dict[str, torch.Tensor]], torch.Tensor]) -> Callable[[], None]:
        def call() -> None:
            inputs["logprobs"].grad = None
            loss(inputs).backward()

        return call

    calls = {f"{side}/{name}": step(loss) for side, losses in sides.items() for name, loss in losses.items()}
    seconds = medians(calls)
    peaks = {name: peak_gib(call, inputs) for name, call in calls.items()}
    pairs = [(side, name) for side in ("own", "compiled") for name in LOSSES]
    replays = {f"graph/{side}/{name}": graphed(step(sides[side][name])) for side, name in pairs}
    seconds |= medians(replays)
    found: dict[str, object] = {
        "ms": {name: round(1e3 * value, 3) for name, value in seconds.items()},
        "peak_gib": {name: round(value, 3) for name, value in peaks.items()},
    }
    for kind, of in BYTES.items():
        moved = {name: of[name.split("/")[2]] * rows * length / seconds[name] for name in replays}
        found[f"share_of_ceiling_{kind}"] = {name: round(x / ceiling, 3) for name, x in moved.items()}
    if "verl" in sides:
        over = {f"{s}/{n}": seconds[f"{s}/{n}"] / seconds[f"verl/{n}"] for s, n in pairs}
        found["over_verl"] = {name: round(value, 3) for name, value in over.items()}
    return found


def selection_figures() -> dict[str, object]:
    """Choosing 0.2 % of 1e7 tokens, beside ``torch.topk`` of covariances that are already there."""
    inputs = {name: x.detach() for name, x in make_inputs(*SELECTED_FROM).items()}
    control, surrogate = KLCov(fraction=2e-3, covariance_on="old"), ImportanceSampling()
    covariance = inputs["old_logprobs"].mul(inputs["advantages"]).flatten()
    k = int(2e-3 * covariance.numel())
    calls = {
        "select_tokens": lambda: select_tokens(control, **inputs, surrogate=surrogate, validate=False),
        "torch.topk alone": lambda: covariance.topk(k),
    }
    seconds = medians(calls | {f"graph/{name}": graphed(call) for name, call in calls.items()})
    return {
        "tokens": covariance.numel(),
        "k": k,
        "ms": {name: round(1e3 * value, 3) for name, value in seconds.items()},
    }


def main() -> None:
    if not torch.cuda.is_available():
        print("skipped: no CUDA device")
        return
    ceiling = copy_ceiling()
    machine = {
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "copy_ceiling_tb_s": round(ceiling / 1e12, 3),
    }
    losses = {f"{rows}x{length}": loss_figures(rows, length, ceiling) for rows, length in SHAPES}
    keep("cuda", {**machine, **losses, "selection": selection_figures()})


if __name__ == "__main__":
    main()
