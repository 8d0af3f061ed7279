"""The Kullback-Leibler divergence over the full vocabulary, at chosen positions only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from ...errors import InvalidInputError, MissingInputError
from ..backend import torch
from ..controls.divergences import FULL
from ..row_kl import row_kl
from ..setting_checks import require_choice, require_number
from .head import HeadSettings
from .hidden_kl import HiddenKL
from .products import wide_dtype

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
    bias: Tensor | None = None
    """[V] of the head."""
    ref_bias: Tensor | None = None
    softcap: float | None = None
    """c of c·tanh(z/c) in both heads, before the temperature."""
    vocab_size: int | None = None
    """Rows of padded heads that count."""
    chunk_rows: int | None = None
    """As in ``HeadSettings``."""

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
        *,
        bias: Tensor | None = None,
        ref_bias: Tensor | None = None,
        softcap: float | None = None,
        vocab_size: int | None = None,
        chunk_rows: int | None = None,
    ) -> FullKL:
        """From hidden states [B, T, d] (or [B·T, d]) and heads [V, d]; logits exist for a few rows at once.

        Args:
            hidden: of the policy, with gradient.
            weight: of the policy, with gradient.
            ref_hidden: of the reference.
            ref_weight: of the reference.
            temperature: of sampling.
            bias: [V] of the policy, with gradient; it needs a ``ref_bias``.
            ref_bias: [V] of the reference.
            softcap: c of c·tanh(z/c) in both heads, before the temperature; None: none.
            vocab_size: rows of padded heads that count; None: all.
            chunk_rows: as in ``fused_policy_loss``; a divergence takes a quarter of it at once.
        """
        policy, reference = (hidden, weight, bias), (ref_hidden, ref_weight, ref_bias)
        _check_heads(policy, reference, vocab_size)
        settings = HeadSettings(_checked(temperature), softcap, vocab_size, None, chunk_rows)
        return cls(
            hidden,
            ref_hidden.detach(),
            weight,
            ref_weight.detach(),
            settings.temperature,
            bias,
            None if ref_bias is None else ref_bias.detach(),
            softcap,
            vocab_size,
            chunk_rows,
        )

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
        if self.weight is None or self.ref_weight is None:
            both = (_logits(states, rows, self.temperature) for states in (self.policy, self.reference))
            return _RowKL.apply(*both, direction)[0]
        policy = self.policy.flatten(0, -2), self.weight, self.bias
        reference = self.reference.flatten(0, -2), self.ref_weight, self.ref_bias
        settings = HeadSettings(self.temperature, self.softcap, self.vocab_size, None, self.chunk_rows)
        return HiddenKL.apply(*policy, *reference, rows, settings, direction)[0]


class _RowKL(torch.autograd.Function):
    """``row_kl`` with its gradient."""

    @staticmethod
    def forward(logits: Tensor, ref_logits: Tensor, direction: str) -> tuple[Tensor, Tensor]:
        """KL of each row, [k]; and its gradient [k, V]."""
        return row_kl(logits, ref_logits, direction)

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


def _logits(logits: Tensor, rows: Tensor, temperature: float) -> Tensor:
    """Logits [k, V] of the rows, in fp64 for fp64 logits and in fp32 otherwise."""
    chosen = logits.flatten(0, -2)[rows].to(wide_dtype(logits))
    return chosen if temperature == 1.0 else chosen / temperature


def _checked_pair(name: str, policy: Tensor, reference: Tensor) -> tuple[Tensor, Tensor]:
    if policy.dim() < 2 or policy.shape != reference.shape:
        raise InvalidInputError(
            f"ref_{name} has shape {list(reference.shape)}, {name} {list(policy.shape)}; give both [B, T, V]"
        )
    return policy, reference.detach()


def require_both_biases(bias: Tensor | None, ref_bias: Tensor | None) -> None:
    """Raise where only one of two heads has a bias."""
    if (bias is None) != (ref_bias is None):
        name, other = ("ref_bias", "bias") if ref_bias is None else ("bias", "ref_bias")
        raise MissingInputError(f"{other} is given without {name}: give both, zeros where a head has none")


def _check_heads(policy: Any, reference: Any, vocab_size: int | None) -> None:
    """Check hidden states, weight and bias of both sides against each other."""
    for prefix, (states, weight, bias) in (("", policy), ("ref_", reference)):
        if weight.dim() != 2 or states.shape[-1] != weight.shape[1]:
            raise InvalidInputError(
                f"{prefix}weight has shape {list(weight.shape)}; {prefix}hidden is {list(states.shape)}, "
                f"so give [V, {states.shape[-1]}]"
            )
        if bias is not None and bias.shape != weight.shape[:1]:
            raise InvalidInputError(
                f"{prefix}bias has shape {list(bias.shape)}; {prefix}weight is {list(weight.shape)}, "
                f"so give [{len(weight)}]"
            )
        if vocab_size is not None and vocab_size > len(weight):
            raise InvalidInputError(
                f"vocab_size={vocab_size!r} is more than the {len(weight)} rows of {prefix}weight"
            )
    (hidden, weight, bias), (ref_hidden, ref_weight, ref_bias) = policy, reference
    if vocab_size is None and len(weight) != len(ref_weight):
        raise InvalidInputError(
            f"ref_weight has {len(ref_weight)} tokens, weight {len(weight)}; give one vocabulary, or the "
            "vocab_size= that counts in both"
        )
    if hidden.shape[:-1] != ref_hidden.shape[:-1]:
        raise InvalidInputError(
            f"ref_hidden has shape {list(ref_hidden.shape)} but hidden {list(hidden.shape)}; align them"
        )
    require_both_biases(bias, ref_bias)


def _checked(temperature: float) -> float:
    require_number("FullKL", "temperature", temperature)
    if temperature <= 0:
        raise InvalidInputError(f"FullKL: temperature={temperature!r} is not positive")
    return float(temperature)
