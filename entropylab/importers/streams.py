"""Append-only JSON-lines streams, plain or in zstd chunks, indexed once and then read record by record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from .faults import Faults, RecordError
from .json_records import Place, numbered_lines, parse_object

_CHUNK = 1 << 16


@dataclass(frozen=True)
class Address:
    """Where a record lies: its line in the source, and the bytes of the plain file that holds it."""

    place: Place
    file: Path
    offset: int
    length: int

    def load(self) -> dict[str, Any]:
        """The record, parsed again."""
        with open(self.file, "rb") as file:
            file.seek(self.offset)
            return parse_object(file.read(self.length))


def chunks(folder: Path) -> list[Path]:
    """The numbered chunks of a stream; the plain file where a chunk is there both plain and sealed."""
    found: dict[str, Path] = {}
    for path in sorted(folder.glob("*.jsonl*")):
        number = path.name.split(".", 1)[0]
        if number.isdigit() and path.name.endswith((".jsonl", ".jsonl.zst")):
            found.setdefault(number, path)
    return [found[number] for number in sorted(found)]


def addressed(path: Path, scratch: Path, faults: Faults) -> Iterator[tuple[Address, dict[str, Any]]]:
    """The records of one file with their addresses; a sealed chunk is unpacked into ``scratch`` first."""
    plain = path
    if path.suffix == ".zst":
        plain = scratch / f"{'-'.join(path.parts[-3:])}.plain"
        with faults.at(path):
            _unpack(path, plain)
    if not plain.exists():
        return
    with open(plain, "rb") as file:
        for number, offset, line in numbered_lines(file):
            address, record = Address(Place(path, number), plain, offset, len(line)), None
            with faults.at(address.place):
                record = parse_object(line)
            if record is not None:
                yield address, record


def _unpack(path: Path, plain: Path) -> None:
    """Decompress what can be read; a broken chunk is a `RecordError`, its whole blocks are kept."""
    plain.parent.mkdir(parents=True, exist_ok=True)
    try:
        with pa.input_stream(str(path), compression="zstd") as packed, open(plain, "wb") as out:
            while block := packed.read(_CHUNK):
                out.write(block)
    except (OSError, pa.ArrowException) as error:
        raise RecordError(f"the zstd chunk is damaged or truncated ({error})") from None
