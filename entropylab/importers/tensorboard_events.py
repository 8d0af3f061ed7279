"""TensorBoard event files: TFRecords of protocol buffers, of which only the scalars are read.

A record: length (uint64), masked CRC-32C of it, the bytes, masked CRC-32C of them. An Event: step (2) and
summary (5) of values: tag (1) with simple_value (2) or a scalar tensor (8) of floats or doubles.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from .metrics_log import MetricsLog

CHECKED_BYTES = 1 << 16
"""Longer records (pictures, histograms) are no scalars: they are skipped unread."""

_MASK = 0xFFFFFFFF


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_TABLE = _crc_table()


def masked_crc(data: bytes) -> int:
    """CRC-32C (Castagnoli), rotated and offset as TFRecord stores it."""
    crc = _MASK
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    crc ^= _MASK
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & _MASK


def event_files(folder: Path) -> list[Path]:
    """The event files of a folder, or of the one folder below it that has any; oldest first."""
    own = sorted(folder.glob("*tfevents*"))
    return own or sorted(folder.glob("*/*tfevents*"))


def read_events(paths: list[Path]) -> MetricsLog:
    """The scalars of event files of one run; a torn or damaged record ends its file and is a problem."""
    log = MetricsLog()
    for path in paths:
        for number, data in enumerate(_records(path, log), 1):
            try:
                step, scalars = parse_event(data)
            except (ValueError, IndexError, struct.error, UnicodeDecodeError) as error:
                log.problems.append(f"{path}, record {number}: not a whole event ({error})")
                continue
            for tag, value in scalars:
                log.rows.append({tag: value, "step": float(step)})
    return log


def _records(path: Path, log: MetricsLog) -> Iterator[bytes]:
    size = path.stat().st_size
    with open(path, "rb") as file:
        while True:
            start = file.tell()
            head = file.read(12)
            if not head:
                return
            if len(head) < 12 or struct.unpack("<I", head[8:])[0] != masked_crc(head[:8]):
                log.problems.append(f"{path}: torn or damaged at byte {start}; what follows is not read")
                return
            length = struct.unpack("<Q", head[:8])[0]
            if start + 16 + length > size:
                log.problems.append(f"{path}: torn at byte {start} (still being written?)")
                return
            if length > CHECKED_BYTES:
                file.seek(length + 4, 1)
                continue
            data, check = file.read(length), file.read(4)
            if struct.unpack("<I", check)[0] != masked_crc(data):
                log.problems.append(f"{path}: the record at byte {start} is damaged and left out")
                continue
            yield data


def parse_event(data: bytes) -> tuple[int, list[tuple[str, float]]]:
    """(step, scalars) of an Event; `ValueError` where the bytes are no protocol buffer."""
    step, scalars = 0, []
    for number, value in _fields(data):
        if number == 2 and isinstance(value, int):
            step = value - (1 << 64) if value >= 1 << 63 else value
        elif number == 5 and isinstance(value, bytes):
            for inner, summary in _fields(value):
                if inner == 1 and isinstance(summary, bytes) and (found := _scalar(summary)):
                    scalars.append(found)
    return step, scalars


def _scalar(data: bytes) -> tuple[str, float] | None:
    tag, value = None, None
    for number, content in _fields(data):
        if number == 1 and isinstance(content, bytes):
            tag = content.decode("utf-8")
        elif number == 2 and isinstance(content, bytes) and len(content) == 4:
            value = struct.unpack("<f", content)[0]
        elif number == 8 and isinstance(content, bytes):
            value = _tensor(content)
    return None if tag is None or value is None else (tag, value)


def _tensor(data: bytes) -> float | None:
    """The value of a scalar tensor of type float (1) or double (2); None for anything else."""
    kind, found = 0, []
    for number, content in _fields(data):
        if number == 1 and isinstance(content, int):
            kind = content
        elif number in (4, 5, 6) and isinstance(content, bytes):
            found.append(content)
    form = {1: "<f", 2: "<d"}.get(kind)
    if form is None or len(found) != 1 or len(found[0]) != struct.calcsize(form):
        return None
    return float(struct.unpack(form, found[0])[0])


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The fields of a message: varints as int, all others as their bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield key >> 3, value
            continue
        if kind == 2:
            length, at = _varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        if at + length > len(data):
            raise ValueError("a field runs past the end")
        yield key >> 3, data[at : at + length]
        at += length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")
