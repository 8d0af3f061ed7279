"""The head of a language model: what turns hidden states into logits, checked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidInputError
from ..backend import torch
from ..setting_checks import require_count, require_number
from .products import factor_dtype, wide_dtype

if TYPE_CHECKING:
    from torch import Tensor

    from .vocab_shard import VocabShard

CHUNK_BYTES = {"cpu": 1 << 25, "cuda": 5 << 29}
"""Memory of the logits of one chunk by device."""
LEAST_ROWS, MOST_ROWS = 128, 4096
BANNED = -1e15
"""What a bias of -inf counts as: exp of it is 0, and 0 times it or its square is no NaN."""


@dataclass(frozen=True)
class HeadSettings:
    """How a head makes logits, and how many rows at once."""

    temperature: float = 1.0
    softcap: float | None = None
    """c of c·tanh(z/c); None: none."""
    vocab_size: int | None = None
    """Rows of a padded weight that count; None: all."""
    shard: VocabShard | None = None
    """Which part of a split vocabulary this process holds; None: all of it."""
    chunk_rows: int | None = None
    """Rows of hidden states taken at once; None: by the memory that suits the device."""

    def __post_init__(self) -> None:
        for name in ("temperature", "softcap"):
            value = getattr(self, name)
            if value is not None:
                require_number("head", name, value)
                if value <= 0:
                    raise InvalidInputError(f"head: {name}={value!r} is not positive")
        for name in ("vocab_size", "chunk_rows"):
            value = getattr(self, name)
            if value is not None:
                require_count("head", name, value, least=1)


@dataclass(frozen=True)
class Head:
    """z = c·tanh((W x + bias)/c) / temperature, without the tanh where ``softcap`` c is None.

    Tensors without gradient; ``weight`` [V, d] in the dtype of the products.
    """

    weight: Tensor
    bias: Tensor | None
    temperature: float
    softcap: float | None
    shard: VocabShard | None
    wide: torch.dtype
    """Of logits and sums."""
    chunk_rows: int
    """Rows of hidden states taken at once."""

    @property
    def size(self) -> int:
        """Rows of the vocabulary held here."""
        return len(self.weight)

    @property
    def total(self) -> int:
        """Rows of the whole vocabulary."""
        return self.size if self.shard is None else self.shard.total

    def columns(self, tokens: Tensor) -> Tensor:
        """Columns of tokens [n] in the logits made here; -1 where there is none."""
        if self.shard is not None:
            return self.shard.local(tokens, self.size)
        return torch.where((tokens >= 0) & (tokens < self.size), tokens, -1)


def make_head(hidden: Tensor, weight: Tensor, bias: Tensor | None, settings: HeadSettings) -> Head:
    """Check a head against hidden states [..., d].

    Raises:
        InvalidInputError: shapes, dtypes or devices that do not fit.
    """
    _check_tensors(hidden, weight, bias)
    size = len(weight) if settings.vocab_size is None else settings.vocab_size
    if size > len(weight):
        raise InvalidInputError(f"vocab_size={size!r} is more than the {len(weight)} rows of weight")
    shard = settings.shard
    if shard is not None and shard.start + size > shard.total:
        raise InvalidInputError(
            f"VocabShard: rows {shard.start} to {shard.start + size} go beyond total={shard.total}"
        )
    factors, wide = factor_dtype(hidden), wide_dtype(hidden)
    return Head(
        weight=weight.detach()[:size].to(factors),
        bias=None if bias is None else bias.detach()[:size].to(wide).clamp(min=BANNED),
        temperature=float(settings.temperature),
        softcap=settings.softcap,
        shard=shard,
        wide=wide,
        chunk_rows=settings.chunk_rows or _rows_at_once(_shared_size(size, shard), wide, hidden.device.type),
    )


def _shared_size(size: int, shard: VocabShard | None) -> int:
    """Rows of the vocabulary by which chunks are cut: the same in every process, as all fold together."""
    return size if shard is None else shard.mean_size


def _rows_at_once(size: int, wide: torch.dtype, device: str) -> int:
    held = CHUNK_BYTES.get(device, CHUNK_BYTES["cpu"]) // (size * wide.itemsize)
    return max(LEAST_ROWS, min(MOST_ROWS, held))


def _check_tensors(hidden: Tensor, weight: Tensor, bias: Tensor | None) -> None:
    given = {"hidden": hidden, "weight": weight} | ({} if bias is None else {"bias": bias})
    for name, value in given.items():
        if hasattr(value, "full_tensor"):
            raise InvalidInputError(
                f"{name} is a DTensor, of which this process holds a part: gather it by unshard() of the "
                f'FSDP module that holds it, or give {name}.full_tensor(grad_placements=[Partial("avg")])'
            )
        if not value.is_floating_point():
            raise InvalidInputError(f"{name} has dtype {value.dtype}; give floating-point numbers")
        if value.device != hidden.device:
            raise InvalidInputError(f"{name} is on {value.device}, hidden on {hidden.device}; move one")
    if weight.dim() != 2 or hidden.dim() < 2 or hidden.shape[-1] != weight.shape[1]:
        raise InvalidInputError(
            f"weight has shape {list(weight.shape)}, hidden {list(hidden.shape)}: "
            f"give [V, d] and [..., d] with one d"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise InvalidInputError(f"bias has shape {list(bias.shape)}, weight {list(weight.shape)}: give [V]")
