"""Models and settings for which the loss cannot be made from hidden states, each refused with the way out."""

from __future__ import annotations

import sys
from typing import Any

import torch

from ...errors import InvalidInputError

FORWARD = "_get_per_token_logps_and_entropies"
"""The method of `GRPOTrainer` that a fused head stands for."""

_INSTEAD = "or attach with head='logits'"


def check_fused(trainer: Any) -> None:
    """Raise `InvalidInputError` for settings under which the forward pass is not the model's own."""
    for reason, (wrong, way_out) in _refused(trainer).items():
        if wrong:
            raise InvalidInputError(f"attach: head='fused' {reason}; {way_out}, {_INSTEAD}")


def plain_head(model: Any) -> torch.nn.Linear:
    """The output embedding of a model where it is `torch.nn.Linear` itself, with its whole weight.

    Raises:
        InvalidInputError: another layer, or weights that are split or patched.
    """
    head = model.get_output_embeddings()
    if type(head) is not torch.nn.Linear:
        raise InvalidInputError(
            f"attach: head='fused' needs an output embedding that is torch.nn.Linear, "
            f"{type(model).__name__} has {_name_of(head)}: {_why(head)}, {_INSTEAD}"
        )
    if hasattr(head.weight, "device_mesh") or head.weight.dim() != 2:
        raise InvalidInputError(
            f"attach: head='fused' needs the whole weight of the output embedding, here it is split over "
            f"processes; train with DDP, {_INSTEAD}"
        )
    if "forward" in vars(head):
        raise InvalidInputError(
            "attach: head='fused': the output embedding has a forward pass of its own, as device_map and "
            f"patches of kernels give it one; load the model onto one device, {_INSTEAD}"
        )
    return head


def _refused(trainer: Any) -> dict[str, tuple[bool, str]]:
    """By reason: whether it holds, and the way out."""
    args, kind = trainer.args, type(trainer)
    owner = next((one for one in kind.__mro__ if FORWARD in vars(one)), None)
    return {
        "cannot be used beside the fused loss of use_liger_kernel=True": (
            bool(getattr(trainer, "use_liger_kernel", False)),
            "set use_liger_kernel=False",
        ),
        "does not know DeepSpeed": (
            bool(getattr(trainer, "is_deepspeed_enabled", False)),
            "train with DDP",
        ),
        "does not know FSDP, which splits the weight of the head": (
            bool(getattr(trainer, "is_fsdp_enabled", False)),
            "train with DDP",
        ),
        "does not know torch_compile=True": (
            bool(getattr(args, "torch_compile", False)),
            "set torch_compile=False",
        ),
        f"stands for {FORWARD} of TRL's GRPOTrainer, and {kind.__name__} has its own": (
            owner is not sys.modules["trl"].GRPOTrainer,
            "train with GRPOTrainer",
        ),
    }


def _name_of(head: Any) -> str:
    return "none" if head is None else f"{type(head).__module__}.{type(head).__qualname__}"


def _why(head: Any) -> str:
    """The way out for a layer that is none."""
    module = "" if head is None else type(head).__module__
    if module.startswith("peft."):
        return "leave it out of PEFT's target_modules and modules_to_save"
    if isinstance(head, torch.nn.Linear):
        return "leave it out of the quantisation, or whatever replaced it"
    return "take a model with such a head"
