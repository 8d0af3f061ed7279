"""Copies of torch tensors: packing on their own device, and one asynchronous transfer to the host.

torch is never imported: a tensor that was handed over brings it along. The same code runs for tensors on the
CPU (then the transfer is an ordinary copy), which is how the tests without a GPU exercise it.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from .arrays import is_tensor
from .buffers import BufferPool

_TYPES = ("bool", "uint8", "int8", "int16", "int32", "int64")


def is_host(view: Any) -> bool:
    """Whether an array lies in host memory; a tensor in page-locked memory does too."""
    return not is_tensor(view) or view.device.type == "cpu"


def device_dtype(tensor: Any) -> np.dtype:
    """The type in which a tensor is packed: floats as float32 (a number for the step as float64)."""
    if tensor.is_floating_point():
        return np.dtype(np.float32 if tensor.ndim else np.float64)
    name = str(tensor.dtype).removeprefix("torch.")
    return np.dtype(name if name in _TYPES else np.int64)


def copy_tensor(target: np.ndarray, tensor: Any) -> None:
    """Copy and cast a tensor in host memory into an array, with torch's own threads."""
    sys.modules["torch"].from_numpy(target).copy_(tensor)


class DevicePack:
    """One buffer on a device. `put` is ordered by the current stream, so the caller may overwrite at once."""

    def __init__(self, device: Any, size: int) -> None:
        torch = sys.modules["torch"]
        self.device = device
        self.size = size
        self.bytes = torch.empty(size, dtype=torch.uint8, device=device)

    def put(self, tensor: Any, start: int, end: int) -> None:
        """Copy and cast a tensor of this device into bytes ``start`` to ``end``."""
        torch = sys.modules["torch"]
        kind = getattr(torch, device_dtype(tensor).name)
        self.bytes[start:end].view(kind).view(tensor.shape).copy_(tensor)


class Transfer:
    """The packs of one step and device on their way to page-locked host memory, in one copy."""

    def __init__(self, packs: Sequence[DevicePack], pool: BufferPool) -> None:
        torch = sys.modules["torch"]
        device = packs[0].device
        self._packed = packs[0].bytes if len(packs) == 1 else torch.cat([p.bytes for p in packs])
        for pack in packs:
            pack.bytes = None
        self._pool = pool
        self._pinned = device.type == "cuda"
        self._buffer = pool.take(self._packed.numel(), self._pinned)
        self._host = torch.from_numpy(self._buffer)[: self._packed.numel()]
        self._event = self._start_on_stream(device) if self._pinned else None
        if self._event is None:
            self._host.copy_(self._packed)

    def wait(self) -> np.ndarray:
        """The bytes, once they have arrived; other threads run meanwhile."""
        if self._event is not None:
            self._event.synchronize()
        self._packed = None
        return self._buffer

    def release(self) -> None:
        """The bytes are void; the buffer goes back."""
        self.wait()
        self._pool.give_back(self._buffer, self._pinned)

    def _start_on_stream(self, device: Any) -> Any:
        """Copy beside the training on a stream of its own, after what the current stream has packed."""
        torch = sys.modules["torch"]
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            self._host.copy_(self._packed, non_blocking=True)
            event = torch.cuda.Event()
            event.record(stream)
        return event
