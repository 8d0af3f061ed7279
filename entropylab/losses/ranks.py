"""What ranks tell each other when they choose tokens together: two collectives, both of tensors."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

_N_SIZES = 3


@dataclass(frozen=True)
class Whole:
    """The token set of all ranks."""

    moments: Tensor
    """int64, their sum over the ranks."""
    n_padded: int
    """Tokens with padding, over all ranks: a bound of the valid ones that the host knows."""
    widest: int
    """Tokens with padding of the largest rank."""


def meet(
    group: Any, moments: Tensor, n_padded: int, settings: object, failure: Exception | None = None
) -> Whole:
    """Add the moments of all ranks; 80 bytes a rank. Waits for the device once, for the sizes.

    Raises:
        InvalidInputError: on every rank, where one has failed or the ranks differ in their settings.
    """
    if group is None:
        return Whole(moments, n_padded, n_padded)
    digest = zlib.crc32(repr(settings).encode())
    own = torch.tensor([n_padded, failure is not None, digest], device=moments.device)
    table = gather(group, torch.cat([moments, own]))
    sizes, failed, digests = table[:, -_N_SIZES:].T.tolist()
    if failure is not None:
        raise failure
    if any(failed):
        raise InvalidInputError(f"select_tokens failed on rank {failed.index(1)} of the group; see its error")
    if len(set(digests)) > 1:
        raise InvalidInputError(
            f"select_tokens(group=...) needs the same settings, dtype, seed and step on every rank; "
            f"ranks differ: {settings!r} here"
        )
    return Whole(table[:, :-_N_SIZES].sum(0), sum(sizes), max(sizes))


def gather(group: Any, tensor: Tensor) -> Tensor:
    """The tensors of all ranks, which have one shape, as [ranks, ...]."""
    from torch import distributed

    parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(parts, tensor.contiguous(), group=group)
    return torch.stack(parts)
