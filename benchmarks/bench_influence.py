"""What the influence of a batch's tokens costs, in training steps of the same batch, by route and size.

    python benchmarks/bench_influence.py

A training step is one forward and one backward pass of the loss. The influence includes both gradients that
it needs, that of the loss (for the geometry and the check) and that of the entropy.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from measure import alternate, keep

from entropylab.influence.routes import ROUTES
from entropylab.influence.token_effects import token_influence
from entropylab.lab.model import PolicyModel, parameter_count
from entropylab.lab.settings import ModelSettings

B, S, T = 64, 17, 10
SIZES = {"small": ModelSettings(), "large": ModelSettings(width=256, layers=6, heads=8)}
ROUNDS = 7


def make(settings: ModelSettings) -> tuple[PolicyModel, dict[str, Callable[[], object]]]:
    torch.manual_seed(0)
    model = PolicyModel(settings)
    tokens = torch.randint(0, settings.vocabulary, (B, S))
    advantages, mask = torch.randn(B), torch.ones(B, T, dtype=torch.bool)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4)

    def training() -> None:
        logp = model.response_logits(tokens).log_softmax(-1)
        taken = logp.gather(-1, tokens[:, S - T :].unsqueeze(-1)).squeeze(-1)
        loss = -(advantages.unsqueeze(1) * taken).mean()
        torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)

    def influence(route: str) -> Callable[[], object]:
        given = {"geometry": optimizer, "max_grad_norm": 1.0, "route": route}
        return lambda: token_influence(model, tokens, advantages, mask, **given)

    return model, {"training step": training, **{route: influence(route) for route in ROUTES}}


def main() -> None:
    torch.set_num_threads(1)
    figures: dict[str, object] = {}
    for name, settings in SIZES.items():
        model, candidates = make(settings)
        seconds = alternate(candidates, rounds=ROUNDS)
        step = seconds.pop("training step")
        costs = {route: round(value / step, 2) for route, value in seconds.items()}
        size = parameter_count(model)
        figures[name] = {"parameters": size, "training_step_s": round(step, 4), "cost": costs}
    keep("influence", {"tokens": B * T, **figures})


if __name__ == "__main__":
    main()
