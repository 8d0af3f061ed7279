"""Three ways to the derivative of every log-probability along one direction of the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ..errors import InvalidInputError
from ..losses.backend import torch
from .scored_batch import ScoredBatch

if TYPE_CHECKING:
    from torch import Tensor

RELATIVE_STEP = {torch.float64: 1e-6, torch.float32: 1e-4}
"""Length of a step of a difference over that of the parameters, by their dtype; 1e-4 for others."""


def jvp(batch: ScoredBatch, rows: slice, direction: Mapping[str, Tensor]) -> Tensor:
    """Forward mode: exact, a second forward pass."""
    parameters = batch.policy.parameters
    given = {name: direction[name].to(p.dtype) for name, p in parameters.items()}
    found = torch.func.jvp(lambda p: batch.logprobs(rows, p), (parameters,), (given,))
    return found[1]


def double_backward(batch: ScoredBatch, rows: slice, direction: Mapping[str, Tensor]) -> Tensor:
    """∂/∂u of <Σ uᵢ ∇log πᵢ, v>: exact, with the memory of a graph of a gradient."""
    leaves = {name: p.clone().requires_grad_() for name, p in batch.policy.parameters.items()}
    with torch.enable_grad():
        logprobs = batch.logprobs(rows, leaves)
        u = torch.zeros_like(logprobs, requires_grad=True)
        gradients = torch.autograd.grad(
            logprobs, list(leaves.values()), u, create_graph=True, allow_unused=True
        )
        pairs = zip(leaves, gradients, strict=True)
        parts = [(g * direction[name]).sum() for name, g in pairs if g is not None]
        (found,) = torch.autograd.grad(torch.stack(parts).sum(), u)
    return found


@torch.no_grad()
def difference(batch: ScoredBatch, rows: slice, direction: Mapping[str, Tensor]) -> Tensor:
    """Central difference: approximate, two forward passes and no gradient."""
    parameters = batch.policy.parameters
    dtype = next(iter(parameters.values())).dtype
    length = torch.stack([p.double().norm() for p in parameters.values()]).norm()
    speed = torch.stack([direction[name].double().norm() for name in parameters]).norm()
    if not speed:
        return torch.zeros_like(batch.logprobs(rows, parameters))
    step = float(RELATIVE_STEP.get(dtype, 1e-4) * length / speed)
    ends = [
        batch.logprobs(rows, {n: (p + side * step * direction[n]).to(p.dtype) for n, p in parameters.items()})
        for side in (1.0, -1.0)
    ]
    return (ends[0] - ends[1]) / (2 * step)


Route = Callable[[ScoredBatch, slice, Mapping[str, "Tensor"]], "Tensor"]
ROUTES: dict[str, Route] = {"jvp": jvp, "double_backward": double_backward, "difference": difference}
"""In the order in which ``auto`` tries them."""


def along(
    batch: ScoredBatch, direction: Mapping[str, Tensor], route: str
) -> tuple[Tensor, str, tuple[str, ...]]:
    """(<∇log πᵢ, v> [B, T], the route taken, why others were not).

    Raises `InvalidInputError` for an unknown route, or one that the model does not support.
    """
    if route != "auto" and route not in ROUTES:
        raise InvalidInputError(f"route is {route!r}: give auto, {', '.join(ROUTES)}")
    refused: list[str] = []
    for name in ROUTES if route == "auto" else (route,):
        try:
            parts = [ROUTES[name](batch, rows, direction) for rows in batch.pieces()]
        except (RuntimeError, NotImplementedError) as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
            refused.append(f"{name}: {' '.join(str(error).split())[:200]}")
            continue
        return torch.cat(parts), name, tuple(refused)
    raise InvalidInputError(f"the model supports no route: {'; '.join(refused)}")
