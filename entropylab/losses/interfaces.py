"""What surrogates and controls are to the policy loss. Free of torch when imported."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .batch import TokenBatch
    from .covariance import Centred
    from .token_budget import TokenBudget


@dataclass(frozen=True)
class Terms:
    """The loss on its way through the controls; 0 outside the valid tokens.

    The loss of a token depends on its own logprob alone, so value and slope say all, and one multiplication
    in the backward pass is enough.
    """

    value: Tensor
    """[B, T]: the loss of each token, without gradient."""
    slope: Tensor
    """[B, T]: its derivative with respect to the token's logprob."""
    weight: Tensor
    """[B, T]: factor on the token's policy gradient, 0 where it was clipped or dropped."""
    unclipped: Tensor | None = None
    """0/1 [B, T]: 0 where the surrogate's ratio clip is active; None where the surrogate has none."""
    per_token: tuple[Tensor, ...] = ()
    """Further losses [B, T] of each token with a gradient of their own."""
    extra: tuple[Tensor, ...] = ()
    """0-d terms with gradient, added after the reduction."""
    nonfinite: tuple[Tensor, ...] = ()
    """0-d counts of non-finite values that a control met and left out."""


@dataclass(frozen=True)
class Chosen:
    """The tokens that a control chose."""

    mask: Tensor
    """0/1 [B, T]."""
    count: Tensor
    """0-d: how many, in the token set on which the choice was made."""
    limit: int
    """Static bound of the number of chosen tokens in this batch."""
    share: Tensor | float = 1.0
    """This batch's share of a larger set, where the choice was made inside this batch alone."""


class Surrogate(Protocol):
    """A policy-gradient objective for each token."""

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token, to be minimised."""
        ...


@runtime_checkable
class Control(Protocol):
    """A change of the loss that acts on the entropy."""

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        ...

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None) -> Terms:
        """The changed loss."""
        ...


@runtime_checkable
class SelectingControl(Control, Protocol):
    """A control that acts on chosen tokens."""

    @property
    def covariance_on(self) -> str:
        """Logprobs of the covariance: ``current`` or ``old``."""
        ...

    @property
    def budget(self) -> TokenBudget:
        """How many tokens it chooses."""
        ...

    def choose(self, batch: TokenBatch, centred: Centred, unclipped: Tensor | None, limit: int) -> Tensor:
        """The chosen tokens as 0/1 [B, T]."""
        ...

    def choose_numpy(
        self, covariance: Any, sample_ids: Any, positions: Any, clipped: Any = None, *, seed: int, step: int
    ) -> NDArray[np.bool_]:
        """The same choice from arrays [n], one entry a valid token."""
        ...
