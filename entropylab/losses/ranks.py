"""What ranks tell each other when they choose tokens together: two collectives, both of tensors."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

_N_SIZES = 6


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
    group: Any,
    moments: Tensor,
    sample_ids: Tensor,
    n_padded: int,
    settings: object,
    failure: Exception | None = None,
) -> Whole:
    """Add the moments of all ranks; 104 bytes a rank. Waits for the device once, for the sizes.

    Where the ranges of the ranks' sample ids overlap, the ids themselves are compared too: 8 bytes a response
    of the largest rank, and a second wait.

    Raises:
        InvalidInputError: on every rank, where one has failed, the ranks differ in their settings or two
            ranks share a sample id.
    """
    if group is None:
        return Whole(moments, n_padded, n_padded)
    digest = zlib.crc32(repr(settings).encode())
    own = torch.tensor([n_padded, failure is not None, digest, len(sample_ids)], device=moments.device)
    table = gather(group, torch.cat([moments, own, _ends(sample_ids)]))
    sizes, failed, digests, rows, least, most = table[:, -_N_SIZES:].T.tolist()
    if failure is not None:
        raise failure
    if any(failed):
        raise InvalidInputError(f"select_tokens failed on rank {failed.index(1)} of the group; see its error")
    if len(set(digests)) > 1:
        raise InvalidInputError(
            f"select_tokens(group=...) needs the same settings, dtype, seed and step on every rank; "
            f"ranks differ: {settings!r} here"
        )
    if _overlap([ends for ends, n in zip(zip(least, most, strict=True), rows, strict=True) if n]):
        _check_distinct(group, sample_ids, rows)
    return Whole(table[:, :-_N_SIZES].sum(0), sum(sizes), max(sizes))


def _ends(sample_ids: Tensor) -> Tensor:
    """The least and the largest id, int64 [2]; 0 where there is none."""
    return torch.stack(sample_ids.aminmax()) if len(sample_ids) else sample_ids.new_zeros(2)


def _overlap(ranges: list[tuple[int, int]]) -> bool:
    ordered = sorted(ranges)
    return any(first[1] >= second[0] for first, second in pairwise(ordered))


def _check_distinct(group: Any, sample_ids: Tensor, rows: list[int]) -> None:
    """Raise where an id is there twice; on every rank, since all see the same ids."""
    padded = torch.nn.functional.pad(sample_ids, (0, max(rows) - len(sample_ids)))
    every = [ids[:n] for ids, n in zip(gather(group, padded), rows, strict=True)]
    ordered = torch.cat(every).sort().values
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeated):
        raise InvalidInputError(
            f"sample_ids holds {int(repeated[0])} on more than one rank ({len(repeated)} such ids); give "
            "each response of the whole batch an id of its own"
        )


def gather(group: Any, tensor: Tensor) -> Tensor:
    """The tensors of all ranks, which have one shape, as [ranks, ...]."""
    from torch import distributed

    parts = [torch.empty_like(tensor) for _ in range(distributed.get_world_size(group))]
    distributed.all_gather(parts, tensor.contiguous(), group=group)
    return torch.stack(parts)
