"""A loss whose gradient is known already, and functions whose results it takes as leaves."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from ...errors import InvalidInputError
from ..backend import torch

if TYPE_CHECKING:
    from torch import Tensor


class _Attached(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: Tensor, count: int, *tensors: Tensor | None) -> Tensor:
        """The loss, as it is; ``tensors``: those with a gradient, then their gradients."""
        ctx.count, ctx.spent = count, False
        ctx.save_for_backward(*tensors[count:])
        return loss.clone()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients times the incoming one, in their own memory."""
        if ctx.spent:
            raise InvalidInputError(
                "the loss of fused_policy_loss went backward twice; the first time overwrites its gradient: "
                "call it again, or give policy_loss what linear_logprob_entropy returns"
            )
        ctx.spent = True
        known = [None if one is None else one.mul_(gradients[0]) for one in ctx.saved_tensors]
        return (None, None, *known, *([None] * ctx.count))


def attach_gradients(
    loss: Tensor, tensors: tuple[Tensor | None, ...], gradients: tuple[Tensor | None, ...]
) -> Tensor:
    """``loss`` (0-d, without gradient) whose derivative with respect to each tensor is the given one.

    The backward pass overwrites the gradients, so it runs once; a second one raises.
    """
    return _Attached.apply(loss, len(tensors), *tensors, *gradients)


def graph_of_its_own() -> AbstractContextManager[Any]:
    """Graphs made within keep their tensors themselves, whatever hooks are set.

    ``torch.utils.checkpoint`` would run the whole call again for each gradient that is taken inside it.
    """
    return torch.autograd.graph.saved_tensors_hooks(lambda tensor: tensor.detach(), lambda tensor: tensor)


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
