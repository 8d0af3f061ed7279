"""Which heads can be fused: what the models of transformers do to their logits, and what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

pytest.importorskip("trl")

import transformers
import trl
from accelerate import Accelerator
from plain_loss import relative_error
from tiny_trl import make_trainer
from torch import nn

import entropylab as el
from entropylab.errors import EntropylabError, InvalidInputError
from entropylab.trainers.trl.fused_head import FusedHead
from entropylab.trainers.trl.logit_rule import logit_rule

SIZES: dict[str, Any] = {"vocab_size": 40, "hidden_size": 32, "intermediate_size": 48}
SIZES |= {"num_hidden_layers": 1, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16}
SIZES |= {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "initializer_range": 0.5}
GPT2 = {"vocab_size": 40, "n_embd": 32, "n_layer": 1, "n_head": 2, "bos_token_id": 1, "eos_token_id": 2}

MODELS: dict[str, tuple[str, dict[str, Any], tuple[float, float | None]]] = {
    "plain": ("Qwen2", {}, (1.0, None)),
    "tied": ("Qwen2", {"tie_word_embeddings": True}, (1.0, None)),
    "bias": ("Phi", {}, (1.0, None)),
    "gpt2": ("GPT2", {}, (1.0, None)),
    "gpt_neox": ("GPTNeoX", {}, (1.0, None)),
    "softcap": ("Gemma2", {"final_logit_softcapping": 2.0}, (1.0, 2.0)),
    "no_softcap": ("Gemma2", {"final_logit_softcapping": None}, (1.0, None)),
    "divided": ("Granite", {"logits_scaling": 8.0}, (0.125, None)),
    "multiplied": ("Cohere", {"logit_scale": 0.0625}, (0.0625, None)),
}

ROUNDED = {"Gemma2": 1e-6, "Cohere": 1e-6}
"""Gradients that pass through norms in fp32."""


def make(name: str) -> Any:
    kind, changes, _ = MODELS[name]
    config = getattr(transformers, f"{kind}Config")
    sizes = GPT2 if kind == "GPT2" else SIZES
    torch.manual_seed(0)
    whole = "GPT2LMHeadModel" if kind == "GPT2" else f"{kind}ForCausalLM"
    model = getattr(transformers, whole)(config(**(sizes | changes))).double().eval()
    head = model.get_output_embeddings()
    if head.bias is not None:
        nn.init.normal_(head.bias)
    return model


class Trainer:
    """As much of a trainer as a fused head looks at."""

    def __init__(self, model: Any, temperature: float = 1.0) -> None:
        self.model, self.ref_model, self.temperature = model, None, temperature
        self.accelerator, self.args = Accelerator(cpu=True), SimpleNamespace()

    def _get_per_token_logps_and_entropies(self, compute_aux_loss: bool = False) -> None:
        """Only its signature counts."""


def batch() -> tuple[torch.Tensor, torch.Tensor, int]:
    ids = torch.randint(3, 40, (3, 9), generator=torch.Generator().manual_seed(1))
    attended = torch.ones_like(ids)
    attended[0, -1:], attended[1, -3:] = 0, 0
    return ids, attended, 5


@pytest.mark.parametrize("name", MODELS)
def test_values_and_gradients_are_those_of_the_logits(name: str) -> None:
    model, temperature = make(name), 0.7
    ids, attended, keep = batch()
    fused = FusedHead(Trainer(model, temperature))
    logprobs, entropy, _ = fused(model, ids, attended, keep, batch_size=2, compute_entropy=True)
    logits = model(input_ids=ids, attention_mask=attended).logits[:, -keep - 1 : -1] / temperature
    every = logits.log_softmax(-1)
    inside = attended[:, -keep:].bool()
    expected = every.gather(-1, ids[:, -keep:, None]).squeeze(-1), -(every.exp() * every).sum(-1)
    for found, value in zip((logprobs, entropy), expected, strict=True):
        torch.testing.assert_close(found[inside], value[inside], rtol=1e-10, atol=1e-10)
        assert (found[~inside] == 0).all()
    weights = list(model.parameters())
    weighted = torch.linspace(-1, 1, inside.sum(), dtype=torch.float64)
    gradients = [
        torch.autograd.grad((weighted * (one[inside] + 0.3 * two[inside])).sum(), weights)
        for one, two in ((logprobs, entropy), expected)
    ]
    assert relative_error(*gradients) <= ROUNDED.get(MODELS[name][0], 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", MODELS)
def test_the_rule_is_found_in_every_dtype(name: str, dtype: torch.dtype) -> None:
    model = make(name).to(dtype)
    state = torch.random.get_rng_state()
    rule = logit_rule(model.train(), model.get_output_embeddings())
    assert (rule.scale, rule.softcap) == MODELS[name][2]
    assert torch.equal(state, torch.random.get_rng_state())


def test_the_loss_that_balances_experts_is_passed_on() -> None:
    config = transformers.MixtralConfig(**SIZES, num_local_experts=4, num_experts_per_tok=2)
    model = transformers.MixtralForCausalLM(config)
    ids, attended, keep = batch()
    expected = model(input_ids=ids, attention_mask=attended, output_router_logits=True).aux_loss
    *_, found = FusedHead(Trainer(model))(model, ids, attended, keep, compute_aux_loss=True)
    torch.testing.assert_close(found, expected)


class Doubled(nn.Linear):
    """A layer that is no plain linear one."""


class Shifted(transformers.Qwen2ForCausalLM):
    """A model that does more to its logits than scale and cap them."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Logits plus one of them."""
        out = super().forward(*args, **kwargs)
        out.logits = out.logits + out.logits[..., :1] ** 2
        return out


class Twice(transformers.Qwen2ForCausalLM):
    """A model that calls its head twice."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The second time counts."""
        super().forward(*args, **kwargs)
        return super().forward(*args, **kwargs)


class OwnForward(trl.GRPOTrainer):
    """A trainer with a forward pass of its own."""

    def _get_per_token_logps_and_entropies(self, *args: Any, **kwargs: Any) -> Any:
        """The trainer's."""
        return super()._get_per_token_logps_and_entropies(*args, **kwargs)


def with_class(kind: type) -> Any:
    def change(trainer: Any) -> None:
        trainer.model.__class__ = kind
        trainer.model.forward = kind.forward.__get__(trainer.model)

    return change


def with_head(head: Any) -> Any:
    return lambda trainer: setattr(trainer.model, "lm_head", head)


def with_hook(trainer: Any) -> None:
    trainer.model.lm_head.forward = trainer.model.lm_head.forward


def from_peft() -> nn.Module:
    return type("Linear", (nn.Module,), {"__module__": "peft.tuners.lora.layer"})()


REFUSED: dict[str, tuple[Any, str]] = {
    "subclass": (with_head(Doubled(32, 16)), r"torch\.nn\.Linear.*Doubled.*quantisation"),
    "none": (with_head(None), "torch.nn.Linear.*has none"),
    "peft": (with_head(from_peft()), "target_modules and modules_to_save"),
    "hook": (with_hook, "forward pass of its own.*one device"),
    "more": (with_class(Shifted), "Shifted does more"),
    "twice": (with_class(Twice), "one call"),
    "liger": (lambda t: setattr(t, "use_liger_kernel", True), "use_liger_kernel=False"),
    "deepspeed": (lambda t: setattr(t, "is_deepspeed_enabled", True), "DeepSpeed; train with DDP"),
    "fsdp": (lambda t: setattr(t, "is_fsdp_enabled", True), "FSDP.*train with DDP"),
    "compile": (lambda t: setattr(t.args, "torch_compile", True), "torch_compile=False"),
    "own": (lambda t: setattr(t, "__class__", OwnForward), "OwnForward has its own"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_fused_is_refused(tmp_path: Path, name: str) -> None:
    change, message = REFUSED[name]
    trainer = make_trainer(tmp_path)
    change(trainer)
    with pytest.raises(InvalidInputError, match=rf"(?s)attach: head='fused'.*{message}.*head='logits'"):
        el.attach(trainer, tmp_path / "run", head="fused")
    assert not (tmp_path / "run").exists()
    assert not hasattr(trainer, "_entropylab")


def test_an_unknown_head_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match="head='liger' is unknown; choose one of logits, fused"):
        el.attach(make_trainer(tmp_path), tmp_path / "run", head="liger")


def test_images_are_refused() -> None:
    model = make("plain")
    with pytest.raises(InvalidInputError, match="has pixel_values; train on text"):
        FusedHead(Trainer(model))(model, *batch(), pixel_values=torch.zeros(3), image_sizes=None)


def test_a_head_that_is_passed_by_is_named() -> None:
    model = make("plain")
    fused = FusedHead(Trainer(model))
    model.forward = lambda **_: None
    with pytest.raises(EntropylabError, match=r"0 times.*head='logits'"):
        fused(model, *batch())
