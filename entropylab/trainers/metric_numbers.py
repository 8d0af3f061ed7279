"""The metrics of a loss as Python numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..losses.policy_loss import PolicyLoss


def numbers(out: PolicyLoss) -> dict[str, float]:
    """The metrics by name; waits for the device once, for all of them."""
    import torch

    values = torch.stack([value.double() for value in out.metrics.values()]).tolist()
    return dict(zip(out.metrics, values, strict=True))
