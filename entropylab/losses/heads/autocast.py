"""Autocast at a head: the inputs take its dtype, the logits do not."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Concatenate, ParamSpec, TypeVar

from ..backend import torch

if TYPE_CHECKING:
    from torch import Tensor

    from .head import Head

P = ParamSpec("P")
R = TypeVar("R")


def in_autocast(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """The tensors in autocast's dtype where autocast is on, else as they are; logits are wide either way."""
    device = hidden.device.type
    if not torch.is_autocast_enabled(device) or hidden.dtype == torch.float64:
        return hidden, weight, bias
    dtype = torch.get_autocast_dtype(device)
    return hidden.to(dtype), weight.to(dtype), bias


def without_autocast(
    function: Callable[Concatenate[Head, Tensor, P], R],
) -> Callable[Concatenate[Head, Tensor, P], R]:
    """A function of a head and hidden states whose products keep their dtype under autocast."""

    @wraps(function)
    def call(head: Head, states: Tensor, /, *args: P.args, **keywords: P.kwargs) -> R:
        with torch.autocast(states.device.type, enabled=False):
            return function(head, states, *args, **keywords)

    return call
