"""What tokens are ranked by, given as a tensor or computed again where it is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .backend import torch
from .blocks import Units

if TYPE_CHECKING:
    from torch import Tensor

UNIT = 64
"""Tokens of one of the units whose highest keys are kept."""


class Keys(Protocol):
    """The key of each token of [B, T], NaN or -inf where it may not be chosen."""

    @property
    def shape(self) -> torch.Size:
        """[B, T]."""
        ...

    def maxima(self, size: int) -> Tensor:
        """[B, units]: the highest key of each unit of ``size`` tokens; -inf where none may be chosen."""
        ...

    def of(self, units: Units) -> Tensor:
        """[k, size]: the keys in those units; -inf where a token may not be chosen."""
        ...


@dataclass(frozen=True)
class StoredKeys:
    """Keys that are all in memory."""

    values: Tensor

    @property
    def shape(self) -> torch.Size:
        """[B, T]."""
        return self.values.shape

    def maxima(self, size: int) -> Tensor:
        """[B, units]: the highest key of each unit; -inf where none may be chosen."""
        return unit_maxima(_filled(self.values), size)

    def of(self, units: Units) -> Tensor:
        """[k, size]: the keys in those units; -inf where a token may not be chosen."""
        return closed(_filled(units.of_tokens(self.values)), units)


@dataclass(frozen=True)
class StreamedKeys:
    """Keys of which only the highest of each unit of ``UNIT`` tokens are in memory."""

    shape: torch.Size
    highest: Tensor
    """[B, units]."""
    compute: Callable[[Units], Tensor]
    """The keys [k, size] in some units."""

    def maxima(self, size: int) -> Tensor:
        """[B, units]: the highest key of each unit; -inf where none may be chosen."""
        assert size == UNIT
        return self.highest

    def of(self, units: Units) -> Tensor:
        """[k, size]: the keys in those units; -inf where a token may not be chosen."""
        return closed(self.compute(units), units)


def unit_maxima(key: Tensor, size: int = UNIT) -> Tensor:
    """[B, units]: the highest key of each unit of ``size`` tokens; -inf where none may be chosen."""
    short = -key.shape[1] % size
    if short:
        key = torch.nn.functional.pad(key, (0, short), value=-torch.inf)
    return key.unflatten(1, (-1, size)).amax(2) if key.numel() else key


def closed(values: Tensor, units: Units) -> Tensor:
    """-inf also where a unit goes past the end of its response."""
    past = units.past_the_end()
    return values if past is None else values.masked_fill(past, -torch.inf)


def _filled(key: Tensor) -> Tensor:
    """-inf in place of NaN."""
    return key.nan_to_num(-torch.inf, torch.inf, -torch.inf)
