"""The policy: a decoder-only transformer of 108,800 parameters, with a cache for sampling."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from .countdown import RESPONSE_LENGTH
from .settings import ModelSettings


@dataclass
class Cache:
    """Keys and values of the tokens read so far, one pair [B, heads, T, width / heads] a layer."""

    layers: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def length(self) -> int:
        """Tokens read so far."""
        return self.layers[0][0].shape[2] if self.layers else 0

    def repeat(self, times: int) -> Cache:
        """The cache with each sequence repeated, for several samples a prompt."""
        return Cache([(k.repeat_interleave(times, 0), v.repeat_interleave(times, 0)) for k, v in self.layers])

    def select(self, rows: Tensor) -> Cache:
        """The cache of the sequences with these row numbers, in this order."""
        return Cache([(k[rows], v[rows]) for k, v in self.layers])


class Block(nn.Module):
    """Pre-norm causal self-attention and a GELU layer of four times the width."""

    def __init__(self, settings: ModelSettings) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_norm = nn.LayerNorm(width)
        self.feed_in = nn.Linear(width, 4 * width)
        self.feed_out = nn.Linear(4 * width, width)

    def forward(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """Output [B, T, width], and the keys and values of all tokens so far."""
        attended, state = self._attend(self.attention_norm(x), past)
        x = x + attended
        return x + self.feed_out(functional.gelu(self.feed_in(self.feed_norm(x)))), state

    def _attend(self, x: Tensor, past: tuple[Tensor, Tensor] | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        batch, length, width = x.shape
        shape = (batch, length, 3, self.heads, width // self.heads)
        query, key, value = self.query_key_value(x).view(shape).permute(2, 0, 3, 1, 4)
        if past is not None:
            key, value = torch.cat([past[0], key], 2), torch.cat([past[1], value], 2)
        mask = _causal_mask(length, key.shape[2])
        attended = functional.scaled_dot_product_attention(query, key, value, mask)
        merged = attended.transpose(1, 2).reshape(batch, length, width)
        return self.attention_out(merged), (key, value)


def _causal_mask(length: int, read: int) -> Tensor | None:
    """What the last ``length`` of ``read`` tokens attend to; None where it is everything."""
    if length == 1:
        return None
    return torch.ones(length, read, dtype=torch.bool).tril(read - length)


class PolicyModel(nn.Module):
    """Next-token model over the tokens of a task whose responses have ``response_length`` tokens."""

    def __init__(self, settings: ModelSettings | None = None, response_length: int = RESPONSE_LENGTH) -> None:
        super().__init__()
        self.response_length = response_length
        self.settings = settings or ModelSettings()
        width, vocabulary = self.settings.width, self.settings.vocabulary
        self.token_embedding = nn.Embedding(vocabulary, width)
        self.position_embedding = nn.Embedding(self.settings.context, width)
        self.blocks = nn.ModuleList(Block(self.settings) for _ in range(self.settings.layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, vocabulary, bias=False)

    def forward(self, tokens: Tensor, cache: Cache | None = None, last: int | None = None) -> Tensor:
        """Logits [B, last or T, V] of the tokens that follow ``tokens`` [B, T]; ``cache``: see `states`."""
        return self.head(self.states(tokens, cache, last))

    def states(self, tokens: Tensor, cache: Cache | None = None, last: int | None = None) -> Tensor:
        """Hidden states [B, last or T, width] before the head.

        A ``cache`` is read and extended: ``tokens`` follow what it holds.
        """
        start = cache.length if cache else 0
        positions = torch.arange(start, start + tokens.shape[1])
        x = self.token_embedding(tokens) + self.position_embedding(positions)
        states = []
        for index, block in enumerate(self.blocks):
            x, state = block(x, cache.layers[index] if start and cache else None)
            states.append(state)
        if cache is not None:
            cache.layers = states
        return self.norm(x if last is None else x[:, -last:])

    def response_logits(self, tokens: Tensor) -> Tensor:
        """Logits [B, T, V] that predict the response of T tokens within whole sequences [B, P + T]."""
        return self.head(self.response_states(tokens))

    def response_states(self, tokens: Tensor) -> Tensor:
        """Hidden states [B, T, width] that predict the response within whole sequences [B, P + T].

        A prompt that several sequences in a row share is read once.
        """
        start = tokens.shape[1] - self.response_length
        prompts, owner = torch.unique_consecutive(tokens[:, :start], dim=0, return_inverse=True)
        cache = Cache()
        first = self.states(prompts, cache, last=1)[owner]
        return torch.cat([first, self.states(tokens[:, start:-1], cache.select(owner))], dim=1)


def build_model(
    seed: int, settings: ModelSettings | None = None, response_length: int = RESPONSE_LENGTH
) -> PolicyModel:
    """A freshly initialised model; the global random state stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return PolicyModel(settings, response_length)


def parameter_count(model: nn.Module) -> int:
    """Number of trained values."""
    return sum(parameter.numel() for parameter in model.parameters())
