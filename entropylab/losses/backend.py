"""The one place where the losses import torch; without it they raise one clear error."""

from __future__ import annotations

from ..errors import require_extra

try:
    import torch
except ImportError as error:
    raise require_extra("torch", "train", "Computing a loss") from error

__all__ = ["torch"]
