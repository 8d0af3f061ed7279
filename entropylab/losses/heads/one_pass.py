"""Statistics and gradients of a batch in one pass, and what is added once the whole batch is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..backend import torch
from ..interfaces import Control, Surrogate
from .gradient import HeadGradient
from .head import Head
from .inputs import FlatRows
from .provisional import Foreseen, foresee, is_foreseeable, response_weights
from .rest import rest_of
from .sweep import sweep
from .valid_beforehand import valid_beforehand

if TYPE_CHECKING:
    from torch import Tensor

    from ..token_tensors import TokenSource


@dataclass(frozen=True)
class Objective:
    """What is minimised."""

    surrogate: Surrogate
    controls: tuple[Control, ...]
    reduction: str
    denominator: float | Tensor | None


@dataclass(frozen=True)
class OnePass:
    """A batch [B, T] after the pass."""

    head: Head
    flat: FlatRows
    logprobs: Tensor
    """[B, T], a leaf; 0 outside the mask."""
    entropy: Tensor
    """[B, T], a leaf; 0 outside the mask."""
    gradient: HeadGradient
    foreseen: Foreseen | None
    """None: the gradient is still to be added whole."""

    def add_rest_(self, by_logprob: Tensor, by_entropy: Tensor | None, source: TokenSource) -> None:
        """Add what the gradient [B, T] of the loss that ``source`` is of differs in from the foreseen one."""
        rows = self.flat.rows
        at_rows = None if by_entropy is None else by_entropy.flatten()[rows]
        rest = rest_of(by_logprob.flatten()[rows], at_rows, self.foreseen)
        places, rest = rest.differing(None if self.foreseen is None else source)
        sweep(
            self.head,
            self.flat.states.detach(),
            self.flat.tokens,
            rows[places],
            coefficients=lambda place, _: rest.at(place).coefficients,
            gradient=self.gradient,
        )


def one_pass(
    head: Head, flat: FlatRows, wanted: tuple[bool, ...], objective: Objective, inputs: Mapping[str, Any]
) -> OnePass:
    """Statistics of all rows, and their gradient as far as it is foreseeable.

    ``wanted``: gradients of states, weight and bias; ``inputs`` of ``policy_loss`` by name, beside logprobs
    and entropy.
    """
    gradient = HeadGradient.zeros(head, flat.states, wanted)
    surrogate, controls = objective.surrogate, objective.controls
    foreseen = None
    if any(wanted) and is_foreseeable(surrogate, controls):
        valid = valid_beforehand(flat, inputs, head.total)
        weights = response_weights(objective.reduction, valid, objective.denominator)
        foreseen = foresee(inputs, flat.rows, weights, surrogate, controls, head.wide)
    states = flat.states.detach()
    stats = sweep(head, states, flat.tokens, flat.rows, coefficients=foreseen, gradient=gradient)
    logprobs, entropy = (
        flat.spread(values).requires_grad_(any(wanted)) for values in (stats.logprobs, stats.entropy)
    )
    return OnePass(head, flat, logprobs, entropy, gradient, foreseen)


def wanted_of(tensors: tuple[Tensor | None, ...]) -> tuple[bool, ...]:
    """Which tensors get a gradient."""
    on = torch.is_grad_enabled()
    return tuple(on and one is not None and one.requires_grad for one in tensors)
