"""Write verl_0_9_1.npz: losses, gradients and draws of the real verl 0.9.1 on small random batches.

Run it with the Python of an environment of its own (verl pins other versions than this project):

    python3.11 -m venv V && V/bin/pip install torch==2.13.0
    V/bin/pip install --no-deps verl==0.9.1
    V/bin/pip install packaging==25.0 numpy==2.4.6 ray==2.60.0 tensordict==0.10.0 omegaconf==2.4.0 \\
        transformers==5.23.0 codetiming==1.4.0
    V/bin/python tests/oracles/make_verl_golden.py

Every number comes from ``get_policy_loss_fn(name)`` of verl; only the tokens that clip_cov drew are found
here, by repeating its ``torch.randperm`` after the same seed and reading which of its gradients vanish.
"""

from __future__ import annotations

import importlib.metadata
import itertools
import json
from pathlib import Path

import numpy as np
import torch
from verl.trainer.ppo.core_algos import get_policy_loss_fn
from verl.workers.config import ActorConfig, PolicyLossConfig

OUT = Path(__file__).with_name("verl_0_9_1.npz")
SHAPES = [(8, 50), (3, 129), (16, 7)]
REDUCTIONS = ["token-mean", "seq-mean-token-mean", "seq-mean-token-sum"]
SETTINGS = [
    {"loss": "vanilla", "low": 0.2, "high": 0.2},
    {"loss": "vanilla", "low": 0.2, "high": 0.28},
    {"loss": "clip_cov", "low": 1.0, "high": 1.0, "fraction": 0.02, "lower": 0.5, "upper": 5.0},
    {"loss": "clip_cov", "low": 0.2, "high": 0.2, "fraction": 0.05, "lower": 0.1, "upper": 2.0},
    {"loss": "clip_cov", "low": 0.2, "high": 0.2, "fraction": 0.3, "lower": 1.0, "upper": 1.5},
    {"loss": "kl_cov", "fraction": 0.02, "beta": 1.0},
    {"loss": "kl_cov", "fraction": 0.2, "beta": 0.1},
]
SEED = 7
FAR = 1e6
"""A dual clip that never acts, so that vanilla is PPO's clip alone."""


def make_batch(shape: tuple[int, int], number: int) -> dict[str, torch.Tensor]:
    rows, length = shape
    g = torch.Generator().manual_seed(100 + number)
    old = -torch.rand(rows, length, generator=g).mul(3).square()
    lengths = torch.randint(length // 3 + 1, length + 1, (rows, 1), generator=g)
    return {
        "old_logprobs": old,
        "logprobs": old + 0.3 * torch.randn(rows, length, generator=g),
        "advantages": (1.5 * torch.randn(rows, 1, generator=g)).expand(rows, length).contiguous(),
        "mask": (torch.arange(length) < lengths).float(),
    }


def make_config(setting: dict) -> ActorConfig:
    return ActorConfig(
        strategy="fsdp",
        rollout_n=8,
        use_dynamic_bsz=True,
        clip_ratio=setting.get("low", 0.2),
        clip_ratio_low=setting.get("low", 0.2),
        clip_ratio_high=setting.get("high", 0.2),
        clip_ratio_c=FAR,
        policy_loss=PolicyLossConfig(
            loss_mode=setting["loss"],
            clip_cov_ratio=setting.get("fraction", 2e-4),
            clip_cov_lb=setting.get("lower", 1.0),
            clip_cov_ub=setting.get("upper", 5.0),
            kl_cov_ratio=setting.get("fraction", 2e-4),
            ppo_kl_coef=setting.get("beta", 1.0),
        ),
    )


def run(batch: dict[str, torch.Tensor], setting: dict, reduction: str) -> dict[str, np.ndarray]:
    leaf = batch["logprobs"].clone().requires_grad_()
    torch.manual_seed(SEED)
    loss, metrics = get_policy_loss_fn(setting["loss"])(
        old_log_prob=batch["old_logprobs"],
        log_prob=leaf,
        advantages=batch["advantages"],
        response_mask=batch["mask"],
        loss_agg_mode=reduction,
        config=make_config(setting),
    )
    loss.backward()
    found = {"loss": loss.detach().numpy(), "gradient": leaf.grad.numpy()}
    found["ppo_kl"] = np.float64(metrics["actor/ppo_kl"])
    if setting["loss"] == "clip_cov":
        found["drawn"] = drawn_tokens(batch, setting, leaf.grad)
    return found


def drawn_tokens(batch: dict[str, torch.Tensor], setting: dict, gradient: torch.Tensor) -> np.ndarray:
    """The tokens [k, 2] that clip_cov dropped; checked against the gradient that verl returned."""
    mask, advantages, logprobs = batch["mask"], batch["advantages"], batch["logprobs"]
    ratio = torch.exp(logprobs - batch["old_logprobs"])
    bounded = torch.clamp(ratio, 1 - setting["low"], 1 + setting["high"])
    clipped = (-advantages * bounded > -advantages * ratio) & (mask > 0)
    n = mask.sum()
    centred = advantages - (advantages * mask).sum() / n
    covariance = centred * (logprobs - (logprobs * mask).sum() / n)
    band = (covariance > setting["lower"]) & (covariance < setting["upper"]) & (mask > 0) & ~clipped
    candidates = torch.nonzero(band)
    torch.manual_seed(SEED)
    k = min(max(int(setting["fraction"] * n.item()), 1), len(candidates))
    drawn = candidates[torch.randperm(len(candidates))[:k]]
    stopped = (gradient == 0) & (mask > 0) & ~clipped
    marked = torch.zeros_like(stopped)
    marked[drawn[:, 0], drawn[:, 1]] = True
    assert torch.equal(marked, stopped), "the draw was not repeated"
    return drawn.numpy()


def main() -> None:
    torch.set_num_threads(1)
    arrays: dict[str, np.ndarray] = {}
    cases = []
    for number, shape in enumerate(SHAPES):
        batch = make_batch(shape, number)
        arrays |= {f"batch{number}/{name}": value.numpy() for name, value in batch.items()}
        for setting, reduction in itertools.product(SETTINGS, REDUCTIONS):
            key = f"case{len(cases)}"
            arrays |= {f"{key}/{name}": value for name, value in run(batch, setting, reduction).items()}
            cases.append({"key": key, "batch": f"batch{number}", "reduction": reduction, **setting})
    origin = {name: importlib.metadata.version(name) for name in ("verl", "torch", "numpy")}
    arrays["index"] = np.array(json.dumps({"origin": origin, "cases": cases}))
    np.savez_compressed(OUT, **arrays)
    print(f"{len(cases)} cases written to {OUT}")


if __name__ == "__main__":
    main()
