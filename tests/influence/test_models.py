"""Models of Hugging Face and recurrent ones: exact routes agree, and what cannot work is named."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import entropylab as el
from entropylab.influence.token_effects import token_influence

B, S, T, V = 3, 9, 5, 40


class Recurrent(nn.Module):
    """A GRU over embedded tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, 16)
        self.cells = nn.GRU(16, 16, batch_first=True)
        self.head = nn.Linear(16, V)

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.cells(self.embedding(input_ids))[0])


def hugging_face(name: str) -> nn.Module:
    transformers = pytest.importorskip("transformers")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "vocab_size": V}
    rest = {"intermediate_size": 32, "num_key_value_heads": 1, "max_position_embeddings": 32}
    if name == "llama":
        config = transformers.LlamaConfig(**sizes, **rest, tie_word_embeddings=False)
    elif name == "qwen2, tied":
        config = transformers.Qwen2Config(**sizes, **rest, tie_word_embeddings=True)
    else:
        config = transformers.GPT2Config(vocab_size=V, n_embd=16, n_layer=2, n_head=2, n_positions=32)
    return transformers.AutoModelForCausalLM.from_config(config)


def make(name: str) -> nn.Module:
    torch.manual_seed(0)
    return (Recurrent() if name == "gru" else hugging_face(name)).double()


def batch() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(1)
    mask = torch.arange(T) < torch.tensor([5, 3, 4]).unsqueeze(1)
    return torch.randint(0, V, (B, S), generator=g), torch.randn(B, generator=g).double(), mask


@pytest.mark.parametrize("name", ["llama", "qwen2, tied", "gpt2", "gru"])
def test_exact_routes_agree_and_predict_a_step(name: str) -> None:
    model = make(name)
    ids, advantages, mask = batch()
    inputs = ids if name == "gru" else {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    found = {r: token_influence(model, inputs, advantages, mask, route=r) for r in ("jvp", "double_backward")}
    scale = found["jvp"].tokens.abs().nan_to_num().max()
    apart = (found["jvp"].tokens - found["double_backward"].tokens).nan_to_num().abs().max()
    rounding = 1e-7 if name in ("llama", "qwen2, tied") else 1e-12  # their norms work in fp32 in any case
    assert apart < rounding * scale
    assert found["jvp"].error < rounding
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-5)
    predicted = token_influence(model, inputs, advantages, mask, geometry=optimizer).predicted
    before = entropy(model, ids, mask)
    loss(model, ids, advantages, mask).backward()
    optimizer.step()
    assert (entropy(model, ids, mask) - before).item() == pytest.approx(predicted, rel=3e-2)


def logits(model: nn.Module, ids: torch.Tensor) -> torch.Tensor:
    out = model(input_ids=ids)
    return getattr(out, "logits", out)[:, S - T - 1 : -1]


def entropy(model: nn.Module, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    model.eval()
    logp = logits(model, ids).log_softmax(-1)
    return -(logp.exp() * logp).sum(-1)[mask].mean().detach()


def loss(model: nn.Module, ids: torch.Tensor, advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    logp = logits(model, ids).log_softmax(-1)
    taken = logp.gather(-1, ids[:, S - T :].unsqueeze(-1)).squeeze(-1)
    return -(advantages.unsqueeze(1) * taken)[mask].mean()


class Checkpointed(nn.Module):
    """A layer under gradient checkpointing, of either kind."""

    def __init__(self, *, reentrant: bool) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, 16)
        self.layer = nn.Sequential(nn.Linear(16, 16), nn.Tanh())
        self.head = nn.Linear(16, V)
        self.reentrant = reentrant

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        from torch.utils.checkpoint import checkpoint

        hidden = checkpoint(self.layer, self.embedding(input_ids), use_reentrant=self.reentrant)
        return self.head(hidden)


def test_checkpointing_without_reentry_works_and_with_it_is_named() -> None:
    ids, advantages, mask = batch()
    torch.manual_seed(0)
    free = token_influence(Checkpointed(reentrant=False).double(), ids, advantages, mask)
    assert free.error < 1e-12
    with pytest.raises(el.EntropylabError, match="use_reentrant=False"):
        token_influence(Checkpointed(reentrant=True).double(), ids, advantages, mask)


def test_weights_without_a_gradient_are_named() -> None:
    ids, advantages, mask = batch()
    model = make("gru")
    for parameter in model.parameters():
        parameter.requires_grad_(False)
    with pytest.raises(el.EntropylabError, match="quantised or frozen"):
        token_influence(model, ids, advantages, mask)


def test_adapters_alone_count_where_the_rest_is_frozen() -> None:
    ids, advantages, mask = batch()
    model = make("gru")
    whole = token_influence(model, ids, advantages, mask)
    model.embedding.requires_grad_(False)
    model.cells.requires_grad_(False)
    head = token_influence(model, ids, advantages, mask)
    assert head.error < 1e-12
    assert not torch.allclose(head.tokens.nan_to_num(), whole.tokens.nan_to_num())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_lower_precision_ranks_the_same(dtype: torch.dtype) -> None:
    ids, advantages, mask = batch()
    exact = token_influence(make("llama"), ids, advantages, mask).tokens[mask]
    rough = token_influence(make("llama").to(dtype), ids, advantages.float(), mask).tokens[mask].double()
    limit = 1e-4 if dtype == torch.float32 else 0.1
    assert (rough - exact).abs().max() < limit * exact.abs().max()
