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
    """The loss on its way through the controls; [B, T] tensors are 0 or False outside the valid tokens."""

    per_token: Tensor
    """[B, T], reduced at the end."""
    clipped: Tensor | None = None
    """bool [B, T]: the surrogate's ratio clip is active; None where the surrogate has none."""
    dropped: Tensor | None = None
    """bool [B, T]: tokens whose policy gradient a control dropped."""
    extra: tuple[Tensor, ...] = ()
    """0-d terms added after the reduction."""
    nonfinite: tuple[Tensor, ...] = ()
    """0-d counts of non-finite values that a control met and left out."""


@dataclass(frozen=True)
class Chosen:
    """The tokens that a control chose."""

    mask: Tensor
    """bool [B, T]."""
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

    def choose(self, batch: TokenBatch, centred: Centred, clipped: Tensor | None, limit: int) -> Tensor:
        """The chosen tokens as bool [B, T]."""
        ...

    def choose_numpy(
        self, covariance: Any, sample_ids: Any, positions: Any, clipped: Any = None, *, seed: int, step: int
    ) -> NDArray[np.bool_]:
        """The same choice from arrays [n], one entry a valid token."""
        ...
