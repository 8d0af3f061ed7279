"""What surrogates and controls are to the policy loss. Free of torch when imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeGuard, runtime_checkable

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from .batch import TokenBatch
    from .ranking import RankInputs
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
    reports: Mapping[str, Tensor] = field(default_factory=dict)
    """0-d numbers that a surrogate or control reports beside the metrics of every loss, by name."""


@dataclass(frozen=True)
class Chosen:
    """The tokens that a control chose."""

    rows: Tensor
    """int64 [k]: their flat rows in the batch, and fillers up to the static bound k."""
    mask: Tensor
    """0/1 [k, 1]: which of them are no fillers."""
    count: Tensor
    """0-d: how many, in the token set on which the choice was made."""
    share: Tensor | float = 1.0
    """This batch's share of a larger set, where the choice was made inside this batch alone."""


class Surrogate(Protocol):
    """A policy-gradient objective for each token."""

    @property
    def scope(self) -> str:
        """What the terms of a token depend on: the ``token`` alone, its ``response``, or the ``batch``."""
        ...

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


def scope_of(control: Control) -> str:
    """What a control's change of a token's loss depends on: the ``token`` alone, or the ``batch``.

    A control that says nothing in ``scope`` depends on the batch.
    """
    return getattr(control, "scope", "batch")


def is_control(value: object) -> TypeGuard[Control]:
    """Whether an object (no class) is a control; ``isinstance`` with a protocol is slow."""
    return not isinstance(value, type) and hasattr(value, "apply") and hasattr(value, "needs")


def chooses_tokens(control: object) -> TypeGuard[SelectingControl]:
    """Whether a control chooses tokens."""
    return is_control(control) and hasattr(control, "key") and hasattr(control, "budget")


@runtime_checkable
class AdaptiveControl(Control, Protocol):
    """A control that steers the policy's entropy to a target; it is its own state, and frozen."""

    @property
    def target(self) -> float:
        """The wanted entropy, in nats."""
        ...

    def updated(self, entropy: float) -> AdaptiveControl:
        """The control after a step whose mean entropy, in nats, was this."""
        ...


@runtime_checkable
class SelectingControl(Control, Protocol):
    """A control that acts on chosen tokens; ``apply`` gets them alone, as responses of one token [k, 1]."""

    @property
    def covariance_on(self) -> str:
        """Logprobs of the covariance: ``current`` or ``old``."""
        ...

    @property
    def budget(self) -> TokenBudget:
        """How many tokens it chooses."""
        ...

    def key(self, tokens: RankInputs) -> Tensor:
        """What tokens are chosen by, the highest first, [B, T]; -inf where a token may not be chosen.

        Called on blocks of responses, so the key of a token may not depend on other responses.
        """
        ...

    def choose_numpy(
        self, covariance: Any, sample_ids: Any, positions: Any, clipped: Any = None, *, seed: int, step: int
    ) -> NDArray[np.bool_]:
        """The choice by that key from arrays [n], one entry a valid token."""
        ...
