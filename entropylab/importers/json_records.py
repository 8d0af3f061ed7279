"""JSON-lines files record by record, and typed values out of a record."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from .faults import Faults, RecordError


@dataclass(frozen=True)
class Place:
    """A line of a file."""

    path: Path
    line: int

    def __str__(self) -> str:
        return f"{self.path}, line {self.line}"


def json_lines(path: Path, faults: Faults) -> Iterator[tuple[Place, dict[str, Any]]]:
    """The objects of a JSON-lines file with their places; empty lines are skipped, broken ones reported."""
    with open(path, "rb") as file:
        for number, _, line in numbered_lines(file):
            place, record = Place(path, number), None
            with faults.at(place):
                record = parse_object(line)
            if record is not None:
                yield place, record


def numbered_lines(file: IO[bytes]) -> Iterator[tuple[int, int, bytes]]:
    """(line number from 1, byte offset, text) of the lines that are not blank."""
    offset = 0
    for number, line in enumerate(file, 1):
        if line.strip():
            yield number, offset, line
        offset += len(line)


def parse_object(line: bytes) -> dict[str, Any]:
    """One JSON object; `RecordError` for anything else."""
    try:
        value = json.loads(line.strip())
    except (ValueError, RecursionError) as error:
        raise RecordError(f"not whole JSON ({error})") from None
    if not isinstance(value, dict):
        raise RecordError(f"a JSON object is needed, found {type(value).__name__}")
    return value


def field(record: Mapping[str, Any], name: str) -> Any:
    """A field that must be there."""
    if name not in record:
        raise RecordError(f"the field {name!r} is missing; there are {', '.join(map(repr, record))}")
    return record[name]


def whole(record: Mapping[str, Any], name: str) -> int:
    """A field that is a whole number from 0."""
    value = field(record, name)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
        raise RecordError(f"{name} must be a whole number from 0, found {value!r}")
    return value


def floats(values: object, name: str, length: int | None = None) -> np.ndarray:
    """A list of numbers as float64 [T], null as NaN; ``length`` is what it must have."""
    checked = _list(values, name, length)
    for value in checked:
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise RecordError(f"{name} must hold numbers, found {value!r}")
    try:
        return np.array([math.nan if v is None else v for v in checked], dtype=np.float64)
    except OverflowError:
        raise RecordError(f"{name} holds a number that is too large") from None


def flags(values: object, name: str, length: int | None = None) -> np.ndarray:
    """A list of true/false or 0/1 as bool [T]; null counts as false."""
    checked = _list(values, name, length)
    for value in checked:
        if value is not None and value not in (0, 1):
            raise RecordError(f"{name} must hold true/false or 0/1, found {value!r}")
    return np.array([bool(v) for v in checked], dtype=bool)


def ids(values: object, name: str, length: int | None = None) -> np.ndarray:
    """A list of token ids as int64 [T]."""
    checked = _list(values, name, length)
    for value in checked:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
            raise RecordError(f"{name} must hold whole numbers from 0 below 2^31, found {value!r}")
    return np.array(checked, dtype=np.int64)


def _list(values: object, name: str, length: int | None) -> Sequence[Any]:
    if not isinstance(values, list):
        raise RecordError(f"{name} must be a list, found {type(values).__name__}")
    if length is not None and len(values) != length:
        raise RecordError(f"{name} has {len(values)} values, {length} are needed")
    return values


def stable_id(*parts: object) -> int:
    """A non-negative 63-bit id of strings and numbers, the same in every process."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode("utf-8", "surrogatepass"), digest_size=8)
    return int.from_bytes(digest.digest(), "big") >> 1


def tokens_id(tokens: np.ndarray) -> int:
    """The id of a prompt, from its token ids."""
    return stable_id("tokens", np.ascontiguousarray(tokens, dtype=np.int64).tobytes().hex())


def numeric_means(rows: Iterable[Mapping[str, Any]], leave: Sequence[str]) -> dict[str, float]:
    """Mean of each field that is a finite number in every row, but those to leave."""
    rows = list(rows)
    found = {}
    for name in rows[0] if rows else ():
        values = [row.get(name) for row in rows]
        if name not in leave and all(is_number(v) for v in values):
            found[name] = float(np.mean([float(v) for v in values if v is not None]))
    return found


def is_number(value: object) -> bool:
    """Whether a JSON value is a finite number (no bool)."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False
