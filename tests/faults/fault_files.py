"""Files of a small run, what a reader makes of them, and damages: flips, cuts, foreign and newer content."""

from __future__ import annotations

import json
import random
import struct
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from fault_checks import rows

import entropylab as el
from entropylab.schema import FORMAT_KEY

FILES = {
    "run": "_run.json",
    "marker": "markers/step-000001/rank-0000-a1.json",
    "evaluation": "evaluations/step-000001/validation-accuracy-a1.json",
    "tokens": "tokens/step-000001/rank-0000-a1.parquet",
    "responses": "responses/step-000001/rank-0000-a1.parquet",
}
COMPACTED = {
    "merged tokens": "tokens/compacted/steps-000000-000002-a1.parquet",
    "merged responses": "responses/compacted/steps-000000-000002-a1.parquet",
    "merged markers": "markers/compacted.parquet",
    "merged evaluations": "evaluations/compacted.parquet",
}


@dataclass(frozen=True)
class View:
    """All that a reader gives of a run. A part that raised an `EntropylabError` is its message."""

    info: object
    steps: object
    updates: object
    evaluations: object
    tokens: object
    responses: object
    problems: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, path: Path) -> View:
        """Any other exception than `EntropylabError` comes out."""
        try:
            run = el.open_run(path)
        except el.EntropylabError as error:
            return cls(*[_Failed(error)] * 6, problems=(("error", str(error)),))
        parts = {
            "info": lambda: run.info,
            "steps": run.steps,
            "updates": lambda: run.steps(by="update"),
            "evaluations": run.evaluations,
            "tokens": lambda: rows(run.tokens()),
            "responses": lambda: rows(run.responses()),
        }
        found = {name: _attempt(part) for name, part in parts.items()}
        return cls(**found, problems=tuple((p.kind, p.path) for p in run.problems()))

    def told(self) -> bool:
        """Whether the reader said that something is wrong."""
        return bool(self.problems) or any(isinstance(part, _Failed) for part in vars(self).values())

    def wrong_numbers(self, good: View) -> list[str]:
        """Parts that hold something else than the same run undamaged, or a step or row less of it."""
        names = ("info", "steps", "updates", "evaluations", "tokens", "responses")
        pairs = {name: (getattr(self, name), getattr(good, name)) for name in names}
        return [name for name, (a, b) in pairs.items() if not isinstance(a, _Failed) and not _subset(a, b)]


class _Failed(str):
    """The message of an `EntropylabError`."""


def _attempt(part):
    try:
        return part()
    except el.EntropylabError as error:
        return _Failed(error)


def _subset(found: object, good: object) -> bool:
    """Whether each row found is a row of the good one (a reader may leave out what it names)."""
    if isinstance(found, pd.DataFrame) and isinstance(good, pd.DataFrame):
        if found.empty:
            return True
        keys = [k for k in ("step", "update", "split", "metric") if k in good.columns]
        if list(found.columns) != list(good.columns) or found.duplicated(keys).any():
            return False
        both = found.merge(good[keys], on=keys, how="inner")
        expected = good.merge(found[keys], on=keys, how="inner")
        return len(both) == len(found) and both.equals(expected)
    if isinstance(found, pa.Table) and isinstance(good, pa.Table):
        return found.num_rows == 0 or found.equals(good.filter(pc.is_in(good["step"], found["step"])))
    if isinstance(found, dict) and isinstance(good, dict):  # a field more (the name of the seal) is no number
        return all(name in found and found[name] == value for name, value in good.items())
    return found == good


def footer_start(data: bytes) -> int:
    """Offset of the first byte of a Parquet file's footer."""
    return len(data) - 8 - struct.unpack("<I", data[-8:-4])[0]


def regions(path: Path) -> dict[str, tuple[int, int]]:
    """Byte ranges of a file by what they hold."""
    size = path.stat().st_size
    if path.suffix == ".json":
        return {"JSON": (0, size)}
    start = footer_start(path.read_bytes())
    return {"magic": (0, 4), "pages": (4, start), "footer": (start, size - 8), "tail": (size - 8, size)}


def flip(data: bytes, bit: int) -> bytes:
    """The bytes with one bit flipped."""
    byte = bit // 8
    return data[:byte] + bytes([data[byte] ^ (1 << bit % 8)]) + data[byte + 1 :]


def foreign(path: Path) -> None:
    """Another program's file of the same kind."""
    if path.suffix == ".json":
        path.write_text('{"hello": [1, 2, 3]}')
    else:
        pq.write_table(pa.table({"x": [1, 2, 3]}), path)


def newer(path: Path) -> None:
    """A file of a later version of the format."""
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "entropylab_format": 99}))
        return
    table = pq.read_table(path)
    pq.write_table(table.replace_schema_metadata({FORMAT_KEY: b"99"}), path)


def zeros(path: Path) -> None:
    """The right length, all zeros: what some file systems leave after a power cut."""
    path.write_bytes(bytes(path.stat().st_size))


def empty(path: Path) -> None:
    path.write_bytes(b"")


def half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def doubled(path: Path) -> None:
    path.write_bytes(path.read_bytes() * 2)


def noise(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(path.stat().st_size))


DAMAGES = (empty, half, zeros, doubled, noise, foreign, newer)
