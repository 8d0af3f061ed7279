from __future__ import annotations

import torch

from entropylab.lab.model import Cache, build_model, parameter_count


def random_tokens(rows: int) -> torch.Tensor:
    return torch.randint(0, 48, (rows, 17), generator=torch.Generator().manual_seed(0))


def test_parameter_count() -> None:
    assert parameter_count(build_model(0)) == 108_800


@torch.no_grad()
def test_cache_gives_the_full_logits() -> None:
    model, tokens = build_model(0).double(), random_tokens(5)
    full = model(tokens)
    cache = Cache()
    pieces = [model(tokens[:, :7], cache)]
    pieces += [model(tokens[:, i : i + 1], cache) for i in range(7, 17)]
    assert cache.length == 17
    torch.testing.assert_close(torch.cat(pieces, dim=1), full, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_repeated_cache_serves_several_samples() -> None:
    model, tokens = build_model(0).double(), random_tokens(3)
    cache = Cache()
    model(tokens[:, :7], cache)
    repeated = cache.repeat(2)
    following = model(tokens[:, 7:8].repeat_interleave(2, 0), repeated)[:, 0]
    torch.testing.assert_close(following[::2], model(tokens)[:, 7], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(following[1::2], following[::2])


@torch.no_grad()
def test_response_logits_predict_the_response() -> None:
    model, tokens = build_model(0), random_tokens(4)
    torch.testing.assert_close(model.response_logits(tokens), model(tokens)[:, 6:16])


def test_a_shared_prompt_read_once_gives_the_same_logits_and_gradients() -> None:
    model, tokens = build_model(0).double(), random_tokens(6)
    tokens[1:4, :7], tokens[5, :7] = tokens[0, :7], tokens[0, :7]
    weights = torch.randn(6, 10, 48, generator=torch.Generator().manual_seed(2)).double()
    found = []
    for logits in (model.response_logits(tokens), model(tokens)[:, 6:16]):
        model.zero_grad()
        (logits * weights).sum().backward()
        found.append((logits.detach(), torch.cat([p.grad.flatten() for p in model.parameters()])))
    torch.testing.assert_close(*(logits for logits, _ in found), rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(*(gradient for _, gradient in found), rtol=1e-9, atol=1e-11)


@torch.no_grad()
def test_the_future_is_hidden() -> None:
    model, tokens = build_model(0), random_tokens(4)
    changed = tokens.clone()
    changed[:, 10:] = (changed[:, 10:] + 1) % 48
    torch.testing.assert_close(model(tokens)[:, :10], model(changed)[:, :10])


def test_the_seed_fixes_the_model_and_leaves_the_global_state() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    one, two, other = build_model(1), build_model(1), build_model(2)
    assert torch.rand(1) == expected
    assert torch.equal(one.head.weight, two.head.weight)
    assert not torch.equal(one.head.weight, other.head.weight)
