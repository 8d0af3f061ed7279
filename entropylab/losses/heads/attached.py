"""A loss whose gradient is known already, and functions whose gradient is passed on linearly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..backend import torch

if TYPE_CHECKING:
    from torch import Tensor


class _Attached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, count: int, *tensors: Tensor | None) -> Tensor:
        """The loss, as it is; ``tensors``: those with a gradient, then their gradients."""
        ctx.count = count
        ctx.save_for_backward(*tensors[count:])
        return loss.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients times the incoming one, in their own memory."""
        known = [None if one is None else one.mul_(gradients[0]) for one in ctx.saved_tensors]
        return (None, None, *known, *([None] * ctx.count))


def attach_gradients(
    loss: Tensor, tensors: tuple[Tensor | None, ...], gradients: tuple[Tensor | None, ...]
) -> Tensor:
    """``loss`` (0-d, without gradient) whose derivative with respect to each tensor is the given one.

    The backward pass overwrites the gradients, so it runs once; a second one raises.
    """
    return _Attached.apply(loss, len(tensors), *tensors, *gradients)


class Linearised:
    """A function of flat rows whose result enters a loss as a leaf, so that its gradient can follow later."""

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function
        self.results: list[tuple[Tensor, Tensor]] = []
        """(result with its graph, leaf)."""

    @property
    def takes_direction(self) -> bool:
        """As the function does."""
        return getattr(self.function, "takes_direction", False)

    def check_rows(self, shape: tuple[int, ...]) -> None:
        """As the function does, where it does."""
        check = getattr(self.function, "check_rows", None)
        if check is not None:
            check(shape)

    def __call__(self, rows: Tensor, *direction: str) -> Tensor:
        """The result as a leaf."""
        result = self.function(rows, *direction)
        if not isinstance(result, torch.Tensor) or not result.requires_grad:
            return result
        leaf = result.detach().requires_grad_()
        self.results.append((result, leaf))
        return leaf


def passed_on(results: Sequence[tuple[Tensor, Tensor]], gradients: Sequence[Tensor | None]) -> Tensor | float:
    """A term of value 0 with the gradient that results, given with their leaves, owe to a loss."""
    return sum(
        ((result - leaf.detach()) * gradient).sum()
        for (result, leaf), gradient in zip(results, gradients, strict=True)
        if gradient is not None
    )
