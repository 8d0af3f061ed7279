"""A run folder as it stands now: inventory, markers, evaluations, and what could not be read."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from ..errors import RunFormatError, StoreError
from .fields import number, text, whole
from .files import CONNECTIONS, Location, Stamp, stamp_of
from .history import Evaluation, History, first_steps, resolve, resolve_evaluations
from .inventory import Inventory, take_inventory
from .marker import Marker
from .paths import EVALUATIONS, MARKERS, evaluation_file, rank_file
from .problem import Problem
from .remote import RemotePath
from .row_files import open_parquet, unreadable
from .run_info import read_json

ROWS_KEY = b"entropylab_rows"
"""Key of the number of rows in the metadata of a merged table: no marker counts its rows."""


@dataclass(frozen=True)
class Snapshot:
    """What a run folder holds at one moment."""

    folder: Location
    inventory: Inventory
    markers: tuple[Marker, ...]
    history: History
    evaluations: tuple[Evaluation, ...]
    superseded_evaluations: tuple[Evaluation, ...]
    unreadable: tuple[Problem, ...]


def markers_of(snapshot: Snapshot, steps: set[int] | None) -> list[Marker]:
    """The markers of the whole steps, or of those of them that are wanted, by step and rank."""
    whole = sorted(snapshot.history.whole.items())
    return [m for step, markers in whole if steps is None or step in steps for m in markers]


class SnapshotReader:
    """Takes snapshots of one folder; a file that has not changed is parsed once."""

    def __init__(self, folder: Location) -> None:
        self._folder = folder
        self._parsed: dict[str, tuple[Stamp | None, Any]] = {}

    def take(self, inventory: Inventory | None = None) -> Snapshot:
        """The state of the folder now, or as an inventory taken a moment ago lists it."""
        inventory = inventory or take_inventory(self._folder)
        unreadable = [_unlisted(self._folder, name, e) for name, e in inventory.unreadable.items()]
        plain, merged = self._load(inventory, MARKERS, _read_marker, _read_compacted_markers, unreadable)
        unique = tuple(
            {m.key: m for m in [*plain, *merged]}.values()
        )  # a merged marker names the files that stay
        evaluations = self._load_evaluations(inventory, unreadable)
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

    def evaluations(self, inventory: Inventory, first: dict[int, int]) -> list[Evaluation]:
        """The evaluations that count, given the first step of each attempt; no marker is read."""
        return resolve_evaluations(self._load_evaluations(inventory, []), first)[0]

    def _load_evaluations(self, inventory: Inventory, unreadable: list[Problem]) -> list[Evaluation]:
        plain, merged = self._load(
            inventory, EVALUATIONS, _read_evaluation, _read_compacted_evaluations, unreadable
        )
        return list({e.key: e for e in [*merged, *plain]}.values())  # a plain one may have been repeated

    def _load(
        self,
        inventory: Inventory,
        kind: str,
        read_one: Callable[[Location], Any],
        read_compacted: Callable[[Location], list[Any]],
        unreadable: list[Problem],
    ) -> tuple[list[Any], list[Any]]:
        """Every readable record of a kind: (of plain files, of compacted files)."""
        names = [stored.path for stored in inventory.files[kind]]
        plain = self._parse_all(inventory, names, lambda path: [read_one(path)], unreadable)
        return plain, self._parse_all(inventory, inventory.compacted[kind], read_compacted, unreadable)

    def _parse_all(
        self,
        inventory: Inventory,
        names: Sequence[str],
        read: Callable[[Location], list[Any]],
        unreadable: list[Problem],
    ) -> list[Any]:
        """The records of files; those of an object store are fetched side by side."""

        def parse(name: str) -> list[Any] | Problem:
            return self._parse(name, inventory.stamps.get(name), read)

        if isinstance(self._folder, RemotePath) and len(names) > 1:
            with ThreadPoolExecutor(CONNECTIONS) as pool:
                parsed = list(pool.map(parse, names))
        else:
            parsed = [parse(name) for name in names]
        unreadable += [p for p in parsed if isinstance(p, Problem)]
        return [record for p in parsed if not isinstance(p, Problem) for record in p]

    def _parse(
        self, name: str, stamp: Stamp | None, read: Callable[[Location], list[Any]]
    ) -> list[Any] | Problem:
        path = self._folder / name
        try:
            stamp = stamp or stamp_of(path)
            known = self._parsed.get(name)
            if known is None or known[0] != stamp or stamp is None or stamp[1] is None:
                known = self._parsed[name] = (stamp, read(path))
            return known[1]
        except FileNotFoundError:
            return []  # compacted or replaced since the inventory was taken
        except RunFormatError as error:
            return Problem("unreadable_file", name, str(error))
        except StoreError:
            raise  # else a step would be left out as if its marker were damaged
        except OSError as error:
            return Problem("unreadable_file", name, f"{path}: cannot be read ({error.strerror or error})")


def _unlisted(folder: Location, name: str, error: OSError) -> Problem:
    text = f"{folder / name}: its files cannot be listed ({error.strerror or error})"
    return Problem("unreadable_file", name, text)


def _read_marker(path: Location) -> Marker:
    marker = Marker.from_json(read_json(path), str(path))
    _check_place(path, rank_file(MARKERS, marker.step, marker.rank, marker.attempt))
    return marker


def _read_evaluation(path: Location) -> Evaluation:
    found = evaluation_of(read_json(path), str(path))
    _check_place(path, evaluation_file(found.step, found.split, found.metric, found.attempt))
    return found


def _check_place(path: Location, name: str) -> None:
    """`RunFormatError` where an intact file lies under another name than its content says: a copy."""
    if [path.parent.name, path.name] != name.split("/")[1:]:
        raise RunFormatError(f"{path}: holds what belongs at {name}, so it was copied or renamed")


def evaluation_of(value: dict[str, Any], source: str) -> Evaluation:
    """The evaluation of a JSON object or row; `RunFormatError` naming ``source`` where a field is wrong."""
    try:
        return Evaluation(
            step=whole(value, "step", 0, 2**31 - 1),
            split=text(value, "split"),
            metric=text(value, "metric"),
            value=float(number(value["value"], "value")),
            n=whole(value, "n", 1),
            attempt=whole(value, "attempt", 1, 2**31 - 1),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RunFormatError(f"{source}: not a whole evaluation of entropylab ({error!r})") from error


def _read_compacted_markers(path: Location) -> list[Marker]:
    return [Marker.from_json(json.loads(text), str(path)) for text in read_table(path)["marker"].to_pylist()]


def _read_compacted_evaluations(path: Location) -> list[Evaluation]:
    return [evaluation_of(row, str(path)) for row in read_table(path).to_pylist()]


def read_table(path: Location) -> pa.Table:
    """A small Parquet file of the log format; `RunFormatError` naming it where it cannot be read."""
    with open_parquet(path) as file:
        try:
            table = file.read()
        except (OSError, pa.ArrowException, ValueError) as error:
            raise unreadable(path, f"damaged, its rows cannot be read ({error})") from error
    promised = (table.schema.metadata or {}).get(ROWS_KEY)
    if promised is not None and promised != str(table.num_rows).encode():
        raise RunFormatError(
            f"{path}: holds {table.num_rows} rows, written with {promised.decode('ascii', 'replace')}"
        )
    return table
