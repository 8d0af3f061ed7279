"""Host memory that is used again from step to step, so that a copy costs no new pages."""

from __future__ import annotations

import sys
import threading

import numpy as np

_GRAIN = 1 << 16
"""Sizes are rounded up to this many bytes, so that micro-steps of like size share buffers."""


class BufferPool:
    """Byte buffers by size; of those free it keeps no more than were ever in use at one time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: list[tuple[bool, np.ndarray]] = []
        self._used = 0
        self._most = 0

    def take(self, size: int, pinned: bool = False) -> np.ndarray:
        """A buffer uint8 of at least ``size`` bytes; ``pinned``: page-locked, for copies from a device."""
        wanted = -(-max(size, 1) // _GRAIN) * _GRAIN
        with self._lock:
            fitting = [
                (b.size, i)
                for i, (kind, b) in enumerate(self._free)
                if kind == pinned and wanted <= b.size <= 2 * wanted
            ]
            buffer = self._free.pop(min(fitting)[1])[1] if fitting else None
            self._used += wanted if buffer is None else buffer.size
            self._most = max(self._most, self._used)
        if buffer is not None:
            return buffer
        return _pinned(wanted) if pinned else np.empty(wanted, np.uint8)

    def give_back(self, buffer: np.ndarray, pinned: bool = False) -> None:
        """The buffer is free; nothing may refer to it any longer."""
        with self._lock:
            self._used -= buffer.size
            self._free.append((pinned, buffer))
            while sum(b.size for _, b in self._free) > self._most - self._used:
                self._free.pop(0)

    @property
    def held(self) -> int:
        """Bytes in use and free."""
        with self._lock:
            return self._used + sum(b.size for _, b in self._free)


def _pinned(size: int) -> np.ndarray:
    """Page-locked memory; the NumPy array keeps the tensor that owns it."""
    torch = sys.modules["torch"]
    return torch.empty(size, dtype=torch.uint8, pin_memory=True).numpy()
