"""A run folder as it stands now: inventory, markers, evaluations, and what could not be read."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from ..errors import RunFormatError
from .history import Evaluation, History, first_steps, resolve, resolve_evaluations
from .inventory import Inventory, take_inventory
from .marker import Marker
from .paths import EVALUATIONS, MARKERS
from .problem import Problem
from .row_files import open_parquet
from .run_info import read_json


@dataclass(frozen=True)
class Snapshot:
    """What a run folder holds at one moment."""

    folder: Path
    inventory: Inventory
    markers: tuple[Marker, ...]
    history: History
    evaluations: tuple[Evaluation, ...]
    superseded_evaluations: tuple[Evaluation, ...]
    unreadable: tuple[Problem, ...]


class SnapshotReader:
    """Takes snapshots of one folder; a file that has not changed is parsed once."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._parsed: dict[str, tuple[tuple[int, int], Any]] = {}

    def take(self) -> Snapshot:
        """The state of the folder now."""
        inventory = take_inventory(self._folder)
        unreadable: list[Problem] = []
        plain, merged = self._load(inventory, MARKERS, _read_marker, _read_compacted_markers, unreadable)
        unique = tuple(
            {m.key: m for m in [*plain, *merged]}.values()
        )  # a merged marker names the files that stay
        plain, merged = self._load(
            inventory, EVALUATIONS, _read_evaluation, _read_compacted_evaluations, unreadable
        )
        evaluations = list(
            {e.key: e for e in [*merged, *plain]}.values()
        )  # a plain one may have been repeated
        current, superseded = resolve_evaluations(evaluations, first_steps(unique))
        return Snapshot(
            folder=self._folder,
            inventory=inventory,
            markers=unique,
            history=resolve(unique),
            evaluations=tuple(current),
            superseded_evaluations=tuple(superseded),
            unreadable=tuple(unreadable),
        )

    def _load(
        self,
        inventory: Inventory,
        kind: str,
        read_one: Callable[[Path], Any],
        read_compacted: Callable[[Path], list[Any]],
        unreadable: list[Problem],
    ) -> tuple[list[Any], list[Any]]:
        """Every readable record of a kind: (of plain files, of compacted files)."""
        plain: list[Any] = []
        for stored in inventory.files[kind]:
            plain += self._parse(stored.path, lambda path: [read_one(path)], unreadable)
        merged: list[Any] = []
        for name in inventory.compacted[kind]:
            merged += self._parse(name, read_compacted, unreadable)
        return plain, merged

    def _parse(self, name: str, read: Callable[[Path], list[Any]], unreadable: list[Problem]) -> list[Any]:
        path = self._folder / name
        try:
            stat = path.stat()
            stamp = (stat.st_size, stat.st_mtime_ns)
            if name not in self._parsed or self._parsed[name][0] != stamp:
                self._parsed[name] = (stamp, read(path))
            return self._parsed[name][1]
        except FileNotFoundError:
            return []  # compacted or replaced since the inventory was taken
        except RunFormatError as error:
            unreadable.append(Problem("unreadable_file", name, str(error)))
            return []


def _read_marker(path: Path) -> Marker:
    return Marker.from_json(read_json(path), str(path))


def _read_evaluation(path: Path) -> Evaluation:
    return evaluation_of(read_json(path), str(path))


def evaluation_of(value: dict[str, Any], source: str) -> Evaluation:
    """The evaluation of a JSON object or row; `RunFormatError` naming ``source`` where a field is wrong."""
    try:
        return Evaluation(
            step=int(value["step"]),
            split=str(value["split"]),
            metric=str(value["metric"]),
            value=float(value["value"]),
            n=int(value["n"]),
            attempt=int(value["attempt"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunFormatError(f"{source}: not a whole evaluation of entropylab ({error!r})") from error


def _read_compacted_markers(path: Path) -> list[Marker]:
    return [Marker.from_json(json.loads(text), str(path)) for text in read_table(path)["marker"].to_pylist()]


def _read_compacted_evaluations(path: Path) -> list[Evaluation]:
    return [evaluation_of(row, str(path)) for row in read_table(path).to_pylist()]


def read_table(path: Path) -> pa.Table:
    """A small Parquet file of the log format; `RunFormatError` naming it where it cannot be read."""
    with open_parquet(path) as file:
        try:
            return file.read()
        except (OSError, pa.ArrowException) as error:
            raise RunFormatError(f"{path}: damaged, its rows cannot be read ({error})") from error
