"""The effect of each token on the entropy against what a real step does, by every route and geometry."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import nn

import entropylab as el
from entropylab.influence.entropy_slope import EntropyGradient, entropy_gradient
from entropylab.influence.token_effects import token_influence
from entropylab.lab.countdown import PROMPT_LENGTH
from entropylab.lab.model import build_model

B, T = 12, 10


def make_batch(seed: int = 0, dtype: torch.dtype = torch.float64):
    g = torch.Generator().manual_seed(seed)
    model = build_model(seed).to(dtype)
    tokens = torch.randint(0, 48, (B, PROMPT_LENGTH + T), generator=g)
    mask = torch.arange(T) < torch.randint(3, T + 1, (B, 1), generator=g)
    return model, tokens, torch.randn(B, generator=g).to(dtype), mask


def entropies(model, tokens, mask) -> torch.Tensor:
    logp = model.response_logits(tokens).log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)[mask].mean()


def loss_of(model, tokens, advantages, mask) -> torch.Tensor:
    logp = model.response_logits(tokens).log_softmax(-1)
    taken = logp.gather(-1, tokens[:, PROMPT_LENGTH:].unsqueeze(-1)).squeeze(-1)
    return -(advantages.unsqueeze(1) * taken)[mask].mean()


@pytest.mark.parametrize("micro_batch", [None, 5])
def test_routes_agree_and_sum_to_the_change_by_the_gradient(micro_batch):
    model, tokens, advantages, mask = make_batch()
    found = {
        route: token_influence(model, tokens, advantages, mask, route=route, micro_batch=micro_batch)
        for route in ("jvp", "double_backward", "difference")
    }
    exact = found["jvp"]
    scale = exact.tokens.abs().nan_to_num().max()
    assert exact.tokens.isnan().equal(~mask)
    for route, limit in (("double_backward", 1e-12), ("difference", 1e-5)):
        apart = (found[route].tokens - exact.tokens).nan_to_num().abs().max()
        assert apart < limit * scale, route
    assert exact.error < 1e-13
    assert exact.route == "jvp"
    assert exact.entropy == pytest.approx(entropies(model, tokens, mask).item(), rel=1e-12)


def test_differences_converge_at_second_order(monkeypatch):
    model, tokens, advantages, mask = make_batch()
    exact = token_influence(model, tokens, advantages, mask, route="jvp").tokens
    errors = []
    for step in (4e-3, 2e-3, 1e-3):
        monkeypatch.setitem(el.influence.routes.RELATIVE_STEP, torch.float64, step)
        found = token_influence(model, tokens, advantages, mask, route="difference").tokens
        errors.append((found - exact).nan_to_num().abs().max().item())
    assert errors[0] / errors[1] == pytest.approx(4, rel=0.05)
    assert errors[1] / errors[2] == pytest.approx(4, rel=0.05)


def test_one_token_alone_is_its_own_gradient():
    model, tokens, advantages, mask = make_batch()
    found = token_influence(model, tokens, advantages, mask)
    parameters = list(model.parameters())
    of_entropy = torch.autograd.grad(entropies(model, tokens, mask), parameters)
    for row, column in [(0, 0), (3, 2), (7, 1)]:
        logp = model.response_logits(tokens).log_softmax(-1)[row, column, tokens[row, PROMPT_LENGTH + column]]
        own = torch.autograd.grad(logp, parameters)
        along = sum((a * b).sum() for a, b in zip(own, of_entropy, strict=True))
        expected = advantages[row] * along / mask.sum()
        assert found.tokens[row, column].item() == pytest.approx(expected.item(), rel=1e-10)


OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-5, weight_decay=0.1),
    "adam": lambda p: torch.optim.Adam(p, lr=1e-5),
    "adam with L2": lambda p: torch.optim.Adam(p, lr=1e-5, weight_decay=0.1),
    "sgd": lambda p: torch.optim.SGD(p, lr=1e-4),
    "momentum": lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.9, dampening=0.3, weight_decay=0.01),
    "nesterov": lambda p: torch.optim.SGD(p, lr=1e-4, momentum=0.9, nesterov=True),
}


@pytest.mark.quick("adamw-*", "*-3-None")
@pytest.mark.parametrize("norm", [None, 0.05])
@pytest.mark.parametrize("earlier", [0, 3])
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_parts_are_the_inner_product_with_the_real_step(name, earlier, norm):
    model, tokens, advantages, mask = make_batch()
    optimizer = OPTIMIZERS[name](model.parameters())

    def descend() -> None:
        optimizer.zero_grad()
        loss_of(model, tokens, advantages, mask).backward()
        if norm is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), norm)
        optimizer.step()

    for _ in range(earlier):
        descend()
    found = token_influence(model, tokens, advantages, mask, geometry=optimizer, max_grad_norm=norm)
    before = deepcopy(model)
    descend()
    of_entropy = entropy_gradient(before, tokens, mask).values
    moved = {n: p.detach() - dict(before.named_parameters())[n].detach() for n, p in model.named_parameters()}
    real = sum((of_entropy[n] * d).sum().item() for n, d in moved.items())
    assert found.predicted == pytest.approx(real, rel=1e-7)
    assert found.error < 1e-12
    observed = (entropies(model, tokens, mask) - entropies(before, tokens, mask)).item()
    assert observed == pytest.approx(found.predicted, rel=2e-2)


def test_states_of_another_batch_and_an_average():
    model, tokens, advantages, mask = make_batch()
    _, other, _, other_mask = make_batch(seed=5)
    by_pair = token_influence(model, tokens, advantages, mask, states=(other, other_mask))
    gradient = entropy_gradient(model, other, other_mask)
    torch.testing.assert_close(
        token_influence(model, tokens, advantages, mask, states=gradient).tokens,
        by_pair.tokens,
        equal_nan=True,
    )
    own = entropy_gradient(model, tokens, mask)
    mixed = own.mixed(gradient, 0.25)
    assert mixed.entropy == pytest.approx(0.25 * own.entropy + 0.75 * gradient.entropy)
    parts = [
        token_influence(model, tokens, advantages, mask, states=s).tokens for s in (own, gradient, mixed)
    ]
    torch.testing.assert_close(parts[2], 0.25 * parts[0] + 0.75 * parts[1], equal_nan=True)


def test_a_method_and_aligned_tokens_give_the_same():
    model, tokens, advantages, mask = make_batch()
    whole = token_influence(model, tokens, advantages, mask)
    aligned = token_influence(
        _Responses(model), {"tokens": tokens[:, PROMPT_LENGTH:], "sequences": tokens}, advantages, mask
    )
    torch.testing.assert_close(whole.tokens, aligned.tokens, equal_nan=True)
    by_method = token_influence(model.forward, tokens, advantages, mask)
    torch.testing.assert_close(whole.tokens, by_method.tokens, equal_nan=True)


class _Responses(nn.Module):
    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, sequences: torch.Tensor) -> torch.Tensor:
        return self.model.response_logits(sequences)


def test_dropout_is_off_and_the_model_stays_as_it_was():
    model, tokens, advantages, mask = make_batch()
    dropped = nn.Sequential(model, nn.Dropout(0.5)).train()
    before = {n: p.clone() for n, p in dropped.state_dict().items()}
    first, second = (token_influence(dropped, tokens, advantages, mask) for _ in range(2))
    assert first.tokens.equal(second.tokens) or first.tokens.nan_to_num().equal(second.tokens.nan_to_num())
    assert all(part.training for part in dropped.modules())
    assert all(p.grad is None for p in dropped.parameters())
    assert all(before[n].equal(p) for n, p in dropped.state_dict().items())


def test_auto_takes_the_next_route_where_one_is_not_supported():
    model, tokens, advantages, mask = make_batch()

    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx, grad):
            (x,) = ctx.saved_tensors
            return 3 * x**2 * grad

    class Custom(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, ids):
            return Cube.apply(self.model(ids))

    found = token_influence(Custom(), tokens, advantages, mask)
    assert found.route == "double_backward"
    assert found.refused[0].startswith("jvp: ")
    assert found.error < 1e-12


def test_temperature_is_that_of_the_policy():
    model, tokens, advantages, mask = make_batch()
    hot = token_influence(model, tokens, advantages, mask, temperature=2.0)
    with torch.no_grad():
        model.head.weight /= 2.0
    cooled = token_influence(model, tokens, advantages, mask)
    assert hot.entropy == pytest.approx(cooled.entropy)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mask": torch.zeros(B, T)}, "mask is empty"),
        ({"mask": torch.ones(B, 40)}, "mask has shape"),
        ({"advantages": torch.full((B,), torch.nan)}, "not finite"),
        ({"advantages": torch.zeros(B, 3)}, "advantages has shape"),
        ({"inputs": torch.zeros(B, 17)}, "integer tensor"),
        ({"inputs": {"ids": torch.zeros(B, 17).long()}}, "give 'tokens' or 'input_ids'"),
        ({"geometry": "adam"}, "geometry is 'adam'"),
        ({"route": "forward"}, "route is 'forward'"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"micro_batch": 0}, "micro_batch is 0"),
        ({"model": lambda ids: ids}, "give a torch module"),
        ({"states": EntropyGradient({}, 0.0)}, "of another model"),
    ],
)
def test_wrong_use_is_named(change, message):
    model, tokens, advantages, mask = make_batch()
    given = {"model": model, "inputs": tokens, "advantages": advantages, "mask": mask} | change
    with pytest.raises(el.EntropylabError, match=message):
        token_influence(given.pop("model"), given.pop("inputs"), **given)


def test_frozen_weights_and_foreign_optimizers_are_named():
    model, tokens, advantages, mask = make_batch()
    other = torch.optim.AdamW(build_model(1).parameters())
    with pytest.raises(el.EntropylabError, match="does not hold the parameter"):
        token_influence(model, tokens, advantages, mask, geometry=other)
    with pytest.raises(el.EntropylabError, match="optimizer Adagrad is not known"):
        token_influence(model, tokens, advantages, mask, geometry=torch.optim.Adagrad(model.parameters()))
    with pytest.raises(el.EntropylabError, match="no parameter that requires a gradient"):
        token_influence(model.requires_grad_(False), tokens, advantages, mask)
