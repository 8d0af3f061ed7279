"""Files that are either whole or absent: temporary file, fsync, rename, fsync of the folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.parquet as pq

from .checksum import sealed
from .remote import RemotePath

PARQUET_OPTIONS: dict[str, Any] = {
    "compression": "zstd",
    "compression_level": 1,
    "row_group_size": 131_072,
    "use_dictionary": ["update", "micro_step", "rollout", "rank"],
    "write_page_checksum": True,
}
"""Options of every Parquet file: no dictionary on floats, no BYTE_STREAM_SPLIT (Spark cannot read it)."""

_DELTA_COLUMNS = ("step", "sample_id", "prompt_id", "position")


def parquet_options(schema: pa.Schema) -> dict[str, Any]:
    """`PARQUET_OPTIONS` with delta encoding for the sorted integer columns that ``schema`` holds."""
    delta = {name: "DELTA_BINARY_PACKED" for name in _DELTA_COLUMNS if name in schema.names}
    return {**PARQUET_OPTIONS, "column_encoding": delta}


def sync_folder(folder: Path) -> None:
    """Make the names inside a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path | RemotePath) -> None:
    """Create a folder and its parents, each durably; an object store needs none."""
    if isinstance(folder, RemotePath) or folder.is_dir():
        return
    make_folder(folder.parent)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def replace_file(path: Path | RemotePath, write: Callable[[IO[bytes]], None]) -> None:
    """Write a file atomically and durably: it is the old one or the whole new one, also after a crash.

    An object of a store is put as a whole, which stores do atomically.
    """
    if isinstance(path, RemotePath):
        path.write(write)
        return
    make_folder(path.parent)
    temporary = path.parent / f".{path.name}.{os.getpid()}.tmp"
    try:
        with open(temporary, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def write_json(path: Path | RemotePath, value: Mapping[str, Any]) -> None:
    """Write a strict JSON object (no NaN, no infinity) atomically, its checksum as the last field."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    data = sealed(text.encode())
    replace_file(path, lambda file: _write_bytes(file, data))


def write_parquet(path: Path | RemotePath, table: pa.Table) -> None:
    """Write a table atomically with the options of the log format."""
    replace_file(path, lambda file: pq.write_table(table, file, **parquet_options(table.schema)))


def _write_bytes(file: IO[bytes], data: bytes) -> None:
    file.write(data)
