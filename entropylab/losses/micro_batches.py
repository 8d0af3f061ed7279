"""One padded tensor for each input, from tensors or from lists of micro-batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from .backend import torch
from .validation import check_tensors

if TYPE_CHECKING:
    from torch import Tensor


def joined(given: dict[str, Any]) -> dict[str, Tensor]:
    """The inputs by name, checked, as tensors of all responses; short micro-batches are filled up.

    Raises:
        InvalidInputError: lists of different lengths, or inputs as in ``policy_loss``.
    """
    if isinstance(given["logprobs"], torch.Tensor):
        check_tensors(**given)
        return given
    lengths = {name: len(value) for name, value in given.items() if isinstance(value, Sequence)}
    if len(lengths) < len(given) or len(set(lengths.values())) > 1 or 0 in lengths.values():
        raise InvalidInputError(
            f"give lists of equally many micro-batches for {', '.join(given)}; got {lengths}"
        )
    for pieces in zip(*given.values(), strict=True):
        check_tensors(**dict(zip(given, pieces, strict=True)))
    longest = max(piece.shape[1] for piece in given["logprobs"])
    return {name: torch.cat([_padded(piece, longest) for piece in _alike(name, given)]) for name in given}


def _alike(name: str, given: dict[str, Any]) -> list[Tensor]:
    """The pieces of one name; advantages all [B, T] where some are."""
    pieces = list(given[name])
    if name == "advantages" and len({piece.dim() for piece in pieces}) > 1:
        pairs = zip(pieces, given["logprobs"], strict=True)
        return [a if a.dim() == 2 else a.unsqueeze(1).expand(l.shape) for a, l in pairs]
    return pieces


def _padded(piece: Tensor, length: int) -> Tensor:
    if piece.dim() == 1:
        return piece
    return torch.nn.functional.pad(piece, (0, length - piece.shape[1]))
