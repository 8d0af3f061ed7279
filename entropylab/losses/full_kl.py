"""The Kullback-Leibler divergence over the full vocabulary, at chosen positions only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ..errors import InvalidInputError
from .backend import torch
from .controls.divergences import FULL
from .setting_checks import require_choice, require_number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FullKL:
    """Full-vocabulary KL between a policy and a reference, computed only at the rows it is called with.

    Make one with ``from_logits`` or ``from_hidden``; ``policy_loss(full_kl=...)`` calls it.
    """

    takes_direction: ClassVar[bool] = True
    """It is called with the direction of the divergence, too."""

    policy: Tensor
    """[..., V] logits, or [..., d] hidden states."""
    reference: Tensor
    """Like ``policy``."""
    weight: Tensor | None
    """[V, d] where hidden states are held."""
    ref_weight: Tensor | None
    temperature: float

    @classmethod
    def from_logits(cls, logits: Tensor, ref_logits: Tensor, temperature: float = 1.0) -> FullKL:
        """From logits [B, T, V] (or [B·T, V]) of the policy and of the reference."""
        return cls(*_checked_pair("logits", logits, ref_logits), None, None, _checked(temperature))

    @classmethod
    def from_hidden(
        cls,
        hidden: Tensor,
        weight: Tensor,
        ref_hidden: Tensor,
        ref_weight: Tensor,
        temperature: float = 1.0,
    ) -> FullKL:
        """From hidden states [B, T, d] (or [B·T, d]) and heads [V, d]; logits exist for the rows only."""
        for name, states, head in (("", hidden, weight), ("ref_", ref_hidden, ref_weight)):
            if head.dim() != 2 or states.shape[-1] != head.shape[1]:
                raise InvalidInputError(
                    f"{name}weight has shape {list(head.shape)}; {name}hidden is {list(states.shape)}, "
                    f"so give [V, {states.shape[-1]}]"
                )
        if weight.shape[0] != ref_weight.shape[0]:
            raise InvalidInputError(
                f"ref_weight has {ref_weight.shape[0]} tokens, weight {weight.shape[0]}; give one vocabulary"
            )
        if hidden.shape[:-1] != ref_hidden.shape[:-1]:
            raise InvalidInputError(
                f"ref_hidden has shape {list(ref_hidden.shape)} but hidden {list(hidden.shape)}; align them"
            )
        return cls(hidden, ref_hidden.detach(), weight, ref_weight.detach(), _checked(temperature))

    def check_rows(self, shape: tuple[int, ...]) -> None:
        """Raise unless this holds one row a token of a batch [B, T]."""
        held = self.policy.shape[:-1].numel()
        if held != shape[0] * shape[1]:
            raise InvalidInputError(
                f"full_kl holds {held} positions, the batch {list(shape)} has {shape[0] * shape[1]}"
            )

    def __call__(self, rows: Tensor, direction: str = "reverse_kl") -> Tensor:
        """KL [k] in nats at flat rows [k], differentiable; NaN with zero gradient where it is not finite."""
        require_choice("FullKL", "direction", direction, FULL)
        policy = _logits(self.policy, self.weight, rows, self.temperature)
        with torch.no_grad():
            reference = _logits(self.reference, self.ref_weight, rows, self.temperature)
        return _RowKL.apply(policy, reference, direction)[0]


class _RowKL(torch.autograd.Function):
    """KL of rows of logits with its gradient in closed form, which is zero where the value is not finite.

    With K the divergence, p = softmax(z) and q the reference:
    ∂D(p‖q)/∂z = p · (log p - log q - K);  ∂D(q‖p)/∂z = p - q.
    """

    @staticmethod
    def forward(logits: Tensor, ref_logits: Tensor, direction: str) -> tuple[Tensor, Tensor]:
        """KL of each row, [k], NaN where it is not finite; and its gradient [k, V]."""
        log_p, log_q = logits.log_softmax(-1), ref_logits.log_softmax(-1)
        p, q = log_p.exp(), log_q.exp()
        outer, gap = (p, log_p - log_q) if direction == "reverse_kl" else (q, log_q - log_p)
        gap = torch.where(outer > 0, gap, 0.0)
        value = (outer * gap).sum(-1)
        finite = torch.isfinite(value)
        gradient = p * (gap - value.unsqueeze(-1)) if direction == "reverse_kl" else p - q
        gradient = torch.where(finite.unsqueeze(-1), gradient, 0.0)
        return torch.where(finite, value, torch.nan), gradient

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        """Keep the gradient, which has none itself."""
        ctx.mark_non_differentiable(output[1])
        ctx.save_for_backward(output[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """The saved gradient of each row times the incoming one."""
        (gradient,) = ctx.saved_tensors
        return gradient * gradients[0].unsqueeze(-1), None, None


def _logits(states: Tensor, weight: Tensor | None, rows: Tensor, temperature: float) -> Tensor:
    """Logits [k, V] of the rows, in fp64 for fp64 states and in fp32 otherwise."""
    dtype = torch.float64 if states.dtype == torch.float64 else torch.float32
    chosen = states.flatten(0, -2)[rows].to(dtype)
    logits = chosen if weight is None else chosen @ weight.to(dtype).T
    return logits if temperature == 1.0 else logits / temperature


def _checked_pair(name: str, policy: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    if policy.dim() < 2 or policy.shape != reference.shape:
        raise InvalidInputError(
            f"ref_{name} has shape {list(reference.shape)}, {name} {list(policy.shape)}; give both [B, T, V]"
        )
    return policy, reference.detach()


def _checked(temperature: float) -> float:
    require_number("FullKL", "temperature", temperature)
    if temperature <= 0:
        raise InvalidInputError(f"FullKL: temperature={temperature!r} is not positive")
    return float(temperature)
