"""Where values may be looked at: to take the rows that count, the host has to know them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..backend import torch

if TYPE_CHECKING:
    from torch import Tensor


def may_look(tensor: Tensor) -> bool:
    """Whether reading values waits for no device and breaks no graph."""
    return tensor.device.type == "cpu" and not torch.compiler.is_compiling()
