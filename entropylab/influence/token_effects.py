"""The exact first-order effect of each token on the entropy of the policy, of one optimizer step."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from ..losses.backend import torch
from .entropy_slope import EntropyGradient, of_batch, summed_gradient
from .geometry import step_of
from .head_only import head_batch
from .routes import along
from .scored_batch import Policy, ScoredBatch, exact_arithmetic, policy_of, scored_batch

if TYPE_CHECKING:
    from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class Influence:
    """What `token_influence` found; all in nats, the change of the mean entropy H of the states.

    `tokens` [B, T]: the effect of each token, NaN outside the mask; their sum is `current`. `carried`: of
    the momentum of earlier steps; `decay`: of weight decay; `predicted`: all together. `checked`: <∇H, Δθ> of
    the current gradient without its momentum, by a backward pass of its own, which `current` equals to
    rounding. `entropy`: H before the step. `route`: how it was made; `refused`: routes that the model does
    not support. `seconds` of all, and `cost`: over those of one gradient of the loss (by the
    head alone, where that is given).
    """

    tokens: Tensor
    entropy: float
    carried: float
    decay: float
    checked: float
    route: str
    refused: tuple[str, ...]
    seconds: float
    cost: float

    @property
    def current(self) -> float:
        """The effect of the current gradient: the sum over the tokens."""
        return float(self.tokens.nansum())

    @property
    def predicted(self) -> float:
        """The first-order change of H in this step."""
        return self.current + self.carried + self.decay

    @property
    def metrics(self) -> dict[str, float]:
        """What a log keeps of it: the change of H in parts, the error of the check, seconds and cost."""
        names = ("current", "carried", "decay", "predicted", "error", "seconds", "cost")
        return {f"entropylab/influence/{name}": float(getattr(self, name)) for name in names}

    @property
    def error(self) -> float:
        """|current - checked| over the sum of the tokens' absolute effects."""
        whole = float(self.tokens.abs().nansum())
        return abs(self.current - self.checked) / whole if whole else 0.0


def token_influence(
    model: Any,
    inputs: Any,
    advantages: Tensor,
    mask: Tensor,
    *,
    states: EntropyGradient | tuple[Any, Tensor] | None = None,
    geometry: Any = "sgd",
    route: str = "auto",
    lr: float | None = None,
    max_grad_norm: float | None = None,
    temperature: float = 1.0,
    micro_batch: int | None = None,
    head: nn.Module | None = None,
) -> Influence:
    """Iᵢ = (1/N) Aᵢ <∇log πᵢ, P ∇H>: what token i does to H in one step on L = -(1/N) Σ Aᵢ rᵢ, r = 1.

    One gradient of H and one derivative of all log-probabilities along P ∇H give every token at once. It is
    a diagnostic: leaving out the tokens of lowest influence held the entropy and trained worse than Clip-Cov.

    Args:
        model: module, or a method of one, that returns logits; only parameters that require a gradient count.
            Dropout is off while it is looked at.
        inputs: ids of whole sequences [B, S], or keywords of the model with ``input_ids``; the last T tokens
            are scored. Or keywords with ``tokens`` [B, T] beside them, which the logits [B, T, V] are of.
        advantages: [B] or [B, T]; times a weight where a control gave one.
        mask: [B, T]; N is its count.
        states: whose entropy: None, this batch's; (inputs, mask) of another; or an `EntropyGradient`, such as
            an average over past batches.
        geometry: ``sgd``, or the optimizer (SGD, Adam, AdamW) before its step: P is then what its next step
            will multiply the gradient with.
        route: ``jvp``, ``double_backward`` (exact), ``difference`` (approximate); ``auto``: the first that
            the model supports.
        lr: of ``sgd``, by default 1. max_grad_norm: to which the gradient is clipped before the step.
        temperature: of the policy. micro_batch: rows at once, by default all.
        head: the model's output layer, such as ``model.get_output_embeddings()``: only the effect through its
            weights, for the price of a forward pass (and clipped by their gradient's norm alone).

    Raises: InvalidInputError (shapes, an empty mask, advantages not finite, an unknown optimizer, weights
    that no gradient reaches, a model that supports no route).
    """
    start = time.perf_counter()
    policy = policy_of(model, temperature)
    batch = _scored(policy, inputs, mask, micro_batch, head)
    by_token = _advantages(advantages, batch)
    with exact_arithmetic(policy.module):
        begun = time.perf_counter()
        gradient = _loss_gradient(batch, by_token)
        training = time.perf_counter() - begun
        of_entropy = _of_states(states, batch, lambda given: _scored(policy, *given, micro_batch, head))
        owned = dict(batch.policy.module.named_parameters())
        step = step_of(geometry, lr, owned, gradient, max_grad_norm)
        direction = {name: step.scale[name] * of_entropy.values[name] for name in gradient}
        effects, taken, refused = along(batch, direction, route)
    tokens = torch.where(batch.mask, by_token * effects / batch.count, torch.nan)
    seconds = time.perf_counter() - start
    return Influence(
        tokens=tokens.detach(),
        entropy=of_entropy.entropy,
        carried=_inner(of_entropy.values, step.carried),
        decay=_inner(of_entropy.values, step.decay),
        checked=-_inner(direction, gradient),
        route=taken,
        refused=refused,
        seconds=seconds,
        cost=seconds / training,
    )


def _scored(
    policy: Policy, inputs: Any, mask: Tensor, micro_batch: int | None, head: nn.Module | None
) -> ScoredBatch:
    batch = scored_batch(policy, inputs, mask, micro_batch)
    return batch if head is None else head_batch(batch, head, micro_batch)


def _advantages(advantages: Tensor, batch: ScoredBatch) -> Tensor:
    """[B, T], 0 outside the mask."""
    given = torch.as_tensor(advantages, device=batch.mask.device)
    if given.shape not in (batch.mask.shape, batch.mask.shape[:1]):
        raise InvalidInputError(
            f"advantages has shape {list(given.shape)}: give [B, T] = {list(batch.mask.shape)} or [B]"
        )
    if not given.is_floating_point():
        given = given.to(torch.float32)
    whole = given if given.dim() == 2 else given.unsqueeze(1).expand(batch.mask.shape)
    inside = torch.where(batch.mask, whole, torch.zeros_like(whole))
    if not inside.isfinite().all():
        raise InvalidInputError("advantages holds a value inside the mask that is not finite")
    return inside


def _loss_gradient(batch: ScoredBatch, advantages: Tensor) -> dict[str, Tensor]:
    """∇L of L = -(1/N) Σ Aᵢ log πᵢ, which is that of the ratio at r = 1."""
    _, values = summed_gradient(batch, lambda rows, p: (advantages[rows] * batch.logprobs(rows, p)).sum())
    return {name: -x / batch.count for name, x in values.items()}


def _of_states(
    states: EntropyGradient | tuple[Any, Tensor] | None,
    batch: ScoredBatch,
    scored: Callable[[tuple[Any, Tensor]], ScoredBatch],
) -> EntropyGradient:
    if states is None:
        return of_batch(batch)
    if isinstance(states, EntropyGradient):
        missing = batch.policy.parameters.keys() - states.values.keys()
        if missing:
            raise InvalidInputError(
                f"states holds no gradient of {sorted(missing)[:3]}: it is of another model"
            )
        return states
    return of_batch(scored(states))


def _inner(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> float:
    return sum(float((left[name].double() * x.double()).sum()) for name, x in right.items())
