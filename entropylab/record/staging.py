"""The copy that `Recorder.record` makes of its arrays: one buffer a micro-step and device, then one transfer.

What lies in host memory is copied, and cast, into a host buffer. What lies on a device is packed there into
one buffer, without waiting for it; at the end of the step all of them go to page-locked host memory in one
asynchronous transfer, which only the writer thread waits for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from ..errors import InvalidInputError
from .arrays import check_mask, check_range, is_tensor
from .buffers import BufferPool
from .device_copy import DevicePack, Transfer, copy_tensor, device_dtype, is_host
from .inputs import Field, MicroStep

_ALIGN = 64


@dataclass(frozen=True)
class Slot:
    """Where an array lies in a buffer, and its type and shape there."""

    offset: int
    dtype: np.dtype
    shape: tuple[int, ...]

    @property
    def end(self) -> int:
        """First byte after the array."""
        return self.offset + self.dtype.itemsize * int(np.prod(self.shape, dtype=np.int64))

    def of(self, buffer: np.ndarray) -> np.ndarray:
        """The array in a buffer uint8."""
        return buffer[self.offset : self.end].view(self.dtype).reshape(self.shape)


def lay_out(shapes: Mapping[str, tuple[np.dtype, tuple[int, ...]]]) -> tuple[dict[str, Slot], int]:
    """(a slot for each array, aligned; bytes needed)."""
    slots: dict[str, Slot] = {}
    end = 0
    for name, (dtype, shape) in shapes.items():
        slots[name] = Slot(-(-end // _ALIGN) * _ALIGN, np.dtype(dtype), tuple(shape))
        end = slots[name].end
    return slots, end


class Block(Protocol):
    """A buffer of one micro-step whose host copy is known at the latest when the step is written."""

    slots: dict[str, Slot]

    def host(self) -> np.ndarray:
        """The bytes in host memory."""


@dataclass
class HostBlock:
    """Arrays copied from host memory."""

    slots: dict[str, Slot]
    buffer: np.ndarray

    def host(self) -> np.ndarray:
        """The buffer itself."""
        return self.buffer


@dataclass
class DeviceBlock:
    """Arrays packed on a device; ``transfer`` and ``start`` say where they arrive."""

    slots: dict[str, Slot]
    pack: DevicePack
    transfer: Transfer | None = None
    start: int = 0

    def host(self) -> np.ndarray:
        """The part of the step's transfer that holds this micro-step; waits for it."""
        if self.transfer is None:
            raise RuntimeError("the step's transfer has not begun")
        return self.transfer.wait()[self.start : self.start + self.pack.size]


@dataclass
class Staged:
    """The copies of one micro-step."""

    call: MicroStep
    blocks: list[Block] = field(default_factory=list)

    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by argument, as views of the buffers; waits for a device."""
        found = {}
        for block in self.blocks:
            host = block.host()
            found.update({name: slot.of(host) for name, slot in block.slots.items()})
        return found


class Staging:
    """Copies micro-steps into buffers of its pool and takes them back when their step is written."""

    def __init__(self) -> None:
        self._pool = BufferPool()

    @property
    def held(self) -> int:
        """Bytes of host memory in use and kept for use."""
        return self._pool.held

    def copy(self, call: MicroStep, fields: Mapping[str, Field]) -> Staged:
        """Copy the arrays of one micro-step; raises `InvalidInputError` for a bad value in host memory."""
        staged = Staged(call)
        host = {name: f for name, f in fields.items() if is_host(f.view)}
        staged.blocks.append(self._copy_host(host))
        for device in dict.fromkeys(f.view.device for f in fields.values() if not is_host(f.view)):
            there = {n: f for n, f in fields.items() if not is_host(f.view) and f.view.device == device}
            staged.blocks.append(pack_fields(there, device))
        return staged

    def send(self, step: Sequence[Staged]) -> None:
        """Start the transfer of a step's packed arrays: one a device, whatever the number of micro-steps."""
        blocks = [b for staged in step for b in staged.blocks if isinstance(b, DeviceBlock)]
        for device in dict.fromkeys(b.pack.device for b in blocks):
            there = [b for b in blocks if b.pack.device == device]
            transfer = Transfer([b.pack for b in there], self._pool)
            start = 0
            for block in there:
                block.transfer, block.start = transfer, start
                start += block.pack.size

    def release(self, step: Sequence[Staged]) -> None:
        """Take back the buffers of a step; its arrays are void then."""
        transfers = []
        for staged in step:
            for block in staged.blocks:
                if isinstance(block, HostBlock):
                    self._pool.give_back(block.buffer)
                elif isinstance(block, DeviceBlock) and block.transfer is not None:
                    transfers.append(block.transfer)
            staged.blocks.clear()
        for transfer in dict.fromkeys(transfers):
            transfer.release()

    def _copy_host(self, fields: Mapping[str, Field]) -> HostBlock:
        slots, size = lay_out({n: (np.dtype(f.dtype), tuple(f.view.shape)) for n, f in fields.items()})
        buffer = self._pool.take(size)
        try:
            mask = slots["mask"].of(buffer) if "mask" in slots else None
            for name, f in fields.items():
                _fill(slots[name].of(buffer), f, mask)
        except BaseException:
            self._pool.give_back(buffer)
            raise
        return HostBlock(slots, buffer)


def pack_fields(fields: Mapping[str, Field], device: Any) -> DeviceBlock:
    """Pack tensors of one device into one buffer there: floats as float32, the rest as they are."""
    shapes = {n: (device_dtype(f.view), tuple(f.view.shape)) for n, f in fields.items()}
    slots, size = lay_out(shapes)
    pack = DevicePack(device, -(-size // _ALIGN) * _ALIGN)
    for name, f in fields.items():
        pack.put(f.view, slots[name].offset, slots[name].end)
    return DeviceBlock(slots, pack)


def _fill(target: np.ndarray, given: Field, mask: np.ndarray | None) -> None:
    """Copy and cast into ``target``; ``mask``, filled before, tells which token ids count."""
    if is_tensor(given.view) and given.dtype in (np.float32, np.float64):
        copy_tensor(target, given.view)
        return
    source = given.view.numpy() if is_tensor(given.view) else given.view
    if given.name == "token_ids" and source.dtype.itemsize >= 4 and source.dtype != np.int32:
        _check_token_ids(source, mask)
    if given.dtype == np.int64 and source.dtype == np.uint64:
        check_range(source, given.name, np.int64)
    try:
        with np.errstate(over="ignore", invalid="ignore"):
            np.copyto(target, source, casting="unsafe")
    except (TypeError, ValueError) as error:
        text = f"{given.name} must hold real numbers, got dtype {source.dtype}"
        raise InvalidInputError(text) from error
    if given.name == "mask":
        check_mask(source, target)


def _check_token_ids(source: np.ndarray, mask: np.ndarray | None) -> None:
    try:
        check_range(source, "token_ids", np.int32)
    except InvalidInputError:
        if mask is None:
            raise
        check_range(source[mask], "token_ids", np.int32)
