"""The checksum that ends each JSON file of a run: CRC-32 of the text before it."""

from __future__ import annotations

import re
import zlib

CHECKSUM = "checksum"
"""The last field of a JSON file; where it is absent (an older file) nothing is checked."""

_SEAL = re.compile(rb',"checksum":"([0-9a-f]{8})"\}\s*\Z')


def sealed(text: bytes) -> bytes:
    """A JSON object, as compact text, with its checksum as a further field."""
    body = text.rstrip()[:-1]
    return body + b',"checksum":"%08x"}\n' % zlib.crc32(body)


def is_intact(data: bytes, *, sealed: bool) -> bool:
    """Whether the text is what was sealed; ``sealed``: whether the object has the field at all."""
    match = _SEAL.search(data)
    if match is None:
        return not sealed
    return int(match[1], 16) == zlib.crc32(data[: match.start()])
