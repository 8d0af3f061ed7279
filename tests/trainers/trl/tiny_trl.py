"""A tiny real GRPO training: a random two-layer model, a word-level tokenizer made in code, real TRL."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")

import torch
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM
from trl import GRPOConfig, GRPOTrainer

WORDS = ["<pad>", "<eos>", "<unk>", *(f"w{i}" for i in range(13))]
PROMPTS = ["w1 w2", "w3 w4 w5", "w6", "w7 w8 w9 w10"]


def make_tokenizer() -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>"
    )


def make_model(seed: int = 0, **changes: Any) -> Qwen2ForCausalLM:
    torch.manual_seed(seed)
    settings = {"vocab_size": len(WORDS), "hidden_size": 32, "intermediate_size": 64}
    settings |= {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2}
    settings |= {"max_position_embeddings": 64, "initializer_range": 0.4}
    settings |= {"pad_token_id": 0, "eos_token_id": 1, "bos_token_id": None}
    model = Qwen2ForCausalLM(Qwen2Config(**(settings | changes)))
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, 1
    return model


def count_reward(completions: list[str], **_: Any) -> list[float]:
    """How many words of even number a completion holds."""
    return [float(sum(int(w[1:]) % 2 == 0 for w in c.split() if w[0] == "w")) for c in completions]


def length_reward(completions: list[str], **_: Any) -> list[float]:
    return [-0.1 * len(c.split()) for c in completions]


def make_trainer(
    folder: Path | str,
    *,
    rewards: Any = count_reward,
    seed: int = 0,
    evaluate: bool = False,
    dtype: torch.dtype = torch.float32,
    model_settings: dict[str, Any] | None = None,
    peft_config: Any = None,
    **settings: Any,
) -> GRPOTrainer:
    """A trainer on the CPU that reports nowhere; ``settings`` are those of GRPOConfig."""
    folder = Path(folder)
    defaults: dict[str, Any] = {
        "output_dir": str(folder / "output"),
        "per_device_train_batch_size": 4,
        "per_device_eval_batch_size": 4,
        "num_generations": 4,
        "max_completion_length": 8,
        "max_steps": 2,
        "learning_rate": 1e-2,
        "logging_steps": 1,
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "save_strategy": "no",
        "disable_tqdm": True,
        "seed": seed,
    }
    model: Any = make_model(seed, **(model_settings or {})).to(dtype)
    tokenizer = make_tokenizer()
    if settings.get("beta", 0.0):
        model.save_pretrained(folder / "model")
        tokenizer.save_pretrained(folder / "model")
        model.config._name_or_path = str(folder / "model")
    data = Dataset.from_dict({"prompt": PROMPTS * 4})
    return GRPOTrainer(
        model=model,
        reward_funcs=rewards,
        args=GRPOConfig(**(defaults | settings)),
        train_dataset=data,
        eval_dataset=data.select(range(4)) if evaluate else None,
        processing_class=tokenizer,
        **({} if peft_config is None else {"peft_config": peft_config}),
    )


def weights_of(trainer: GRPOTrainer) -> list[torch.Tensor]:
    return [p.detach().clone() for p in trainer.accelerator.unwrap_model(trainer.model).parameters()]
