"""The effect through the output head alone, against the whole model with everything else frozen."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import Qwen2Config, Qwen2ForCausalLM

from entropylab.errors import InvalidInputError
from entropylab.influence.token_effects import token_influence

B, S, T, V = 6, 12, 7, 50


@pytest.fixture
def batch():
    g = torch.Generator().manual_seed(0)
    ids = torch.randint(0, V, (B, S), generator=g)
    mask = torch.arange(T) < torch.randint(3, T + 1, (B, 1), generator=g)
    return ids, torch.randn(B, generator=g).double(), mask


@pytest.fixture
def model():
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=V,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        initializer_range=0.3,
        tie_word_embeddings=False,
    )
    return Qwen2ForCausalLM(config).double()


@pytest.mark.parametrize("micro_batch", [None, 4])
def test_it_is_that_of_a_model_with_all_else_frozen(model, batch, micro_batch):
    ids, advantages, mask = batch
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    settings = {"geometry": optimizer, "temperature": 0.7, "micro_batch": micro_batch}
    fast = token_influence(model, ids, advantages, mask, head=model.get_output_embeddings(), **settings)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name == "lm_head.weight")
    slow = token_influence(model, ids, advantages, mask, **settings)
    torch.testing.assert_close(fast.tokens, slow.tokens, rtol=1e-10, atol=0, equal_nan=True)
    assert fast.entropy == pytest.approx(slow.entropy, rel=1e-12)
    assert fast.error < 1e-12


def test_it_is_the_formula_of_a_linear_layer(model, batch):
    """(A/N) (e_a - π)' G h with G = ∇_W H = -(1/N) Σ π (log π + H) h'."""
    ids, advantages, mask = batch
    head = model.get_output_embeddings()
    found = token_influence(model, ids, advantages, mask, head=head)
    with torch.no_grad():
        h = model.model(ids).last_hidden_state[:, -T - 1 : -1][mask]
        log_policy = (h @ head.weight.T).log_softmax(-1)
        policy = log_policy.exp()
        entropy = -(policy * log_policy).sum(-1, keepdim=True)
        slope = -(policy * (log_policy + entropy)).T @ h / len(h)
        chosen = nn.functional.one_hot(ids[:, -T:][mask], V) - policy
        own = advantages.unsqueeze(1).expand(B, T)[mask]
        expected = own / len(h) * ((chosen @ slope) * h).sum(-1)
    torch.testing.assert_close(found.tokens[mask], expected, rtol=1e-10, atol=1e-16)


def test_other_states_go_through_the_head_too(model, batch):
    ids, advantages, mask = batch
    other = (ids.flip(0), mask.flip(0))
    found = token_influence(model, ids, advantages, mask, head=model.lm_head, states=other)
    assert found.entropy == pytest.approx(
        token_influence(model, *other[:1], advantages, other[1], head=model.lm_head).entropy, rel=1e-12
    )


def test_a_layer_that_does_not_make_the_logits_is_named(model, batch):
    with pytest.raises(InvalidInputError, match="other logits than the model"):
        token_influence(model, *batch, head=model.model.norm)
    with pytest.raises(InvalidInputError, match="called 0 times"):
        token_influence(model, *batch, head=nn.Linear(16, V))
