"""Hidden states, tokens and mask as flat rows, checked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidInputError
from ..backend import torch
from ..validation import resolve_validate
from .looking import may_look

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class FlatRows:
    """The rows of hidden states that count."""

    states: Tensor
    """[N, d], with gradient."""
    tokens: Tensor
    """int64 [N]."""
    rows: Tensor
    """int64 [n]: those inside the mask; all N where looking would wait for the device."""
    inside: Tensor | None
    """Bool [N]; None where there is no mask."""
    shape: tuple[int, ...]
    """Of the tokens as given."""

    def spread(self, values: Tensor) -> Tensor:
        """Values [n] of the rows in the shape of the tokens, 0 elsewhere."""
        if len(self.rows) == len(self.tokens):
            zero = values.new_zeros(())
            whole = values if self.inside is None else torch.where(self.inside, values, zero)
        else:
            whole = values.new_zeros(len(self.tokens)).index_copy(0, self.rows, values)
        return whole.view(self.shape)


def flat_rows(
    hidden: Tensor, tokens: Tensor, mask: Tensor | None, vocabulary: int, validate: bool | None
) -> FlatRows:
    """Check ``hidden`` [..., d], ``tokens`` [...] and ``mask`` [...] against each other and flatten them.

    Raises:
        InvalidInputError: shapes, dtypes or devices that do not fit; with ``validate`` also a token inside
            the mask and outside the vocabulary.
    """
    for name, value in (("tokens", tokens), ("mask", mask)):
        if value is not None and value.shape != hidden.shape[:-1]:
            raise InvalidInputError(
                f"{name} has shape {list(value.shape)}, hidden {list(hidden.shape)}: "
                f"give {list(hidden.shape[:-1])}"
            )
        if value is not None and value.device != hidden.device:
            raise InvalidInputError(f"{name} is on {value.device}, hidden on {hidden.device}; move one")
    if tokens.dtype not in (torch.int64, torch.int32):
        raise InvalidInputError(f"tokens has dtype {tokens.dtype}; give int64 ids")
    flat = tokens.reshape(-1).long()
    inside = None if mask is None else mask.reshape(-1) != 0
    if resolve_validate(validate, hidden):
        _check_range(flat, inside, vocabulary, tokens.shape)
    every = torch.arange(len(flat), device=flat.device)
    rows = every[inside] if inside is not None and may_look(inside) else every
    return FlatRows(hidden.reshape(-1, hidden.shape[-1]), flat, rows, inside, tuple(tokens.shape))


def _check_range(tokens: Tensor, inside: Tensor | None, size: int, shape: tuple[int, ...]) -> None:
    bad = (tokens < 0) | (tokens >= size)
    if inside is not None:
        bad &= inside
    if bool(bad.any()):
        first = int(bad.nonzero()[0])
        where = ", ".join(str(int(i)) for i in torch.unravel_index(torch.tensor(first), shape))
        raise InvalidInputError(
            f"tokens[{where}] is {int(tokens[first])}, outside the vocabulary of {size}: "
            f"give ids in [0, {size}), or leave the position out by mask="
        )
