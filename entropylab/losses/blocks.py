"""Computing by blocks of responses, so that on a CPU the steps of a long chain stay in its cache."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, TypeVar

from .backend import torch

if TYPE_CHECKING:
    from torch import Tensor

BLOCK_TOKENS = 2**16
"""Tokens of one block: a handful of fp32 tensors of this size fit in a core's second-level cache."""

T = TypeVar("T")


def row_blocks(like: Tensor) -> list[slice]:
    """Slices of the rows of [B, T]: one on a device other than the CPU and within ``torch.compile``."""
    n_rows, length = like.shape
    if like.device.type != "cpu" or torch.compiler.is_compiling():
        return [slice(0, n_rows)]
    height = max(1, BLOCK_TOKENS // max(1, length))
    return [slice(first, min(first + height, n_rows)) for first in range(0, n_rows, height)] or [slice(0, 0)]


def rows_of(item: T, rows: slice, n_rows: int) -> T:
    """The dataclass with those rows of its tensors that have ``n_rows``, as views."""
    held = {field.name: getattr(item, field.name) for field in fields(item)}  # type: ignore[arg-type]
    parts = {name: value[rows] for name, value in held.items() if _has_rows(value, n_rows)}
    return replace(item, **parts)  # type: ignore[type-var]


class Collector:
    """Puts the tensors of blocks together again, each in one allocation."""

    def __init__(self, n_rows: int) -> None:
        self._n_rows = n_rows
        self._whole: dict[str, Tensor] = {}

    def put(self, rows: slice, **parts: Tensor) -> None:
        """Keep a copy of the ``parts`` [b, ...] of these rows."""
        for name, part in parts.items():
            if name not in self._whole:
                self._whole[name] = part.new_empty((self._n_rows, *part.shape[1:]))
            self._whole[name][rows].copy_(part)

    def whole(self) -> dict[str, Tensor]:
        """The tensors [B, ...] by name."""
        return self._whole


def _has_rows(value: Any, n_rows: int) -> bool:
    return isinstance(value, torch.Tensor) and value.dim() > 0 and len(value) == n_rows
