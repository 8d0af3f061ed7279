"""Rows of a batch that a model scores: from parameters to log-probabilities and entropies."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from ..losses.backend import torch

if TYPE_CHECKING:
    from torch import Tensor, nn

    Parameters = Mapping[str, Tensor]

TOKENS, INPUT_IDS = "tokens", "input_ids"
"""Keys of the inputs: tokens that the logits are aligned with, or the ids of whole sequences."""
_UNNAMED = ""


@dataclass(frozen=True)
class Policy:
    """A module that returns logits, and those of its parameters that are trained."""

    module: nn.Module
    temperature: float

    @property
    def parameters(self) -> dict[str, Tensor]:
        """By name, without gradient."""
        return {name: p.detach() for name, p in self.module.named_parameters() if p.requires_grad}


def policy_of(model: Any, temperature: float) -> Policy:
    """A module, or a method of one that returns logits.

    Raises `InvalidInputError` for what has no parameters that a gradient can reach.
    """
    module = _as_module(model) if isinstance(getattr(model, "__self__", None), torch.nn.Module) else model
    if not isinstance(module, torch.nn.Module):
        raise InvalidInputError(
            f"model is a {type(model).__name__}: give a torch module or a method of one, so that its "
            "parameters are known"
        )
    if not temperature > 0:
        raise InvalidInputError(f"temperature is {temperature}: give a number above 0")
    policy = Policy(module, temperature)
    if not policy.parameters:
        raise InvalidInputError(
            "model has no parameter that requires a gradient: quantised or frozen weights have no influence; "
            "give the module that is trained, such as its adapters"
        )
    return policy


def _as_module(method: Any) -> nn.Module:
    """A module whose call is a method of another."""

    class Method(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.owner = method.__self__

        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return method.__func__(self.owner, *args, **kwargs)

    return Method()


@dataclass(frozen=True, eq=False)
class ScoredBatch:
    """A batch of a policy: inputs by name, tokens [B, T] and mask bool [B, T]."""

    policy: Policy
    inputs: Mapping[str, Any]
    """By name; under "" what is given without one."""
    tokens: Tensor
    mask: Tensor
    shift: bool
    """Whether the logits are those of whole sequences, which predict the next token."""
    rows: int
    """Rows that are scored at once."""

    @property
    def count(self) -> int:
        """Tokens inside the mask."""
        return int(self.mask.sum())

    def pieces(self) -> Iterator[slice]:
        """The batch in pieces of rows."""
        for start in range(0, len(self.tokens), self.rows):
            yield slice(start, start + self.rows)

    def logits(self, rows: slice, parameters: Parameters) -> Tensor:
        """[b, T, V] in fp32 or wider, over the temperature."""
        batch = {n: x[rows] if _is_by_row(x, len(self.tokens)) else x for n, x in self.inputs.items()}
        first = (batch.pop(_UNNAMED),) if _UNNAMED in batch else ()
        out = torch.func.functional_call(self.policy.module, dict(parameters), first, batch)
        logits = self.scored(_logits_of(out))
        wide = torch.promote_types(logits.dtype, torch.float32)
        return logits.to(wide) / self.policy.temperature

    def scored(self, positions: Tensor) -> Tensor:
        """What the tokens [b, T] are scored by, of one entry a position [b, S, ...]."""
        if not self.shift:
            return positions
        length = self.tokens.shape[1]
        if positions.shape[1] == length:
            return torch.cat([positions[:, :1], positions[:, :-1]], 1)
        return positions[:, -length - 1 : -1]

    def logprobs(self, rows: slice, parameters: Parameters) -> Tensor:
        """log π of the tokens [b, T]; 0 outside the mask."""
        logp = self.logits(rows, parameters).log_softmax(-1)
        taken = logp.gather(-1, self.tokens[rows].unsqueeze(-1)).squeeze(-1)
        return torch.where(self.mask[rows], taken, torch.zeros_like(taken))

    def entropy_sum(self, rows: slice, parameters: Parameters) -> Tensor:
        """Σ H over the tokens inside the mask, nats."""
        logp = self.logits(rows, parameters).log_softmax(-1)
        entropy = -(logp.exp() * logp).sum(-1)
        return torch.where(self.mask[rows], entropy, torch.zeros_like(entropy)).sum()


def scored_batch(policy: Policy, inputs: Any, mask: Tensor, micro_batch: int | None) -> ScoredBatch:
    """A batch from ids of whole sequences [B, S], or from a mapping.

    With ``tokens`` [B, T] among the inputs the rest is given to the model by name, and its logits [B, T, V]
    are those of the tokens. Else ``input_ids`` [B, S] (or a tensor alone) are whole sequences whose last T
    tokens are scored by the logits before them; the first token of a sequence cannot be.
    """
    given = dict(inputs) if isinstance(inputs, Mapping) else {INPUT_IDS: inputs}
    shift = TOKENS not in given
    if shift and INPUT_IDS not in given:
        raise InvalidInputError(f"inputs hold {sorted(given)}: give '{TOKENS}' or '{INPUT_IDS}' among them")
    ids = given[INPUT_IDS] if shift else given.pop(TOKENS)
    if not isinstance(ids, torch.Tensor) or ids.dim() != 2 or ids.is_floating_point():
        raise InvalidInputError("inputs: token ids must be an integer tensor [B, S]")
    mask = torch.as_tensor(mask, device=ids.device)
    if mask.dim() != 2 or len(mask) != len(ids) or mask.shape[1] > ids.shape[1]:
        raise InvalidInputError(f"mask has shape {list(mask.shape)}, the token ids {list(ids.shape)}")
    if not shift and mask.shape != ids.shape:
        raise InvalidInputError(f"mask has shape {list(mask.shape)}, tokens {list(ids.shape)}")
    mask = mask != 0
    if not mask.any():
        raise InvalidInputError("mask is empty: no token to look at")
    if shift and mask.shape == ids.shape and mask[:, 0].any():
        raise InvalidInputError("mask holds the first token of a sequence, which nothing predicts")
    rows = len(ids) if micro_batch is None else micro_batch
    if rows < 1:
        raise InvalidInputError(f"micro_batch is {micro_batch}: give a number of rows of at least 1")
    if not isinstance(inputs, Mapping):
        given = {_UNNAMED: ids}
    return ScoredBatch(policy, given, ids[:, ids.shape[1] - mask.shape[1] :], mask, shift, rows)


def _is_by_row(value: Any, rows: int) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and len(value) == rows


def _logits_of(out: Any) -> Tensor:
    found = getattr(out, "logits", out)
    return found[0] if isinstance(found, tuple) else found


@contextmanager
def exact_arithmetic(module: nn.Module) -> Iterator[None]:
    """Without dropout, and with attention that has forward and second derivatives everywhere."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    trained = {part for part in module.modules() if part.training}
    module.eval()
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        for part in trained:
            part.training = True
