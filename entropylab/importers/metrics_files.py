"""The table of step-level files: which reader a path has, by its name or, failing that, its first bytes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..errors import InvalidInputError, RunNotFoundError
from ..record.paths import RUN_FILE
from .metrics_log import MetricsLog
from .metrics_tables import read_csv, read_json, read_json_lines, read_parquet
from .tensorboard_events import event_files, read_events
from .trackio_database import read_database
from .verl_console import read_console

Logs = dict[str, MetricsLog]


@dataclass(frozen=True)
class Kind:
    """A kind of file: its endings, how a file of any name begins (b"": not told by that), and its reader."""

    name: str
    endings: tuple[str, ...]
    begins: bytes
    read: Callable[[Path], MetricsLog | Logs]


KINDS: tuple[Kind, ...] = (
    Kind("trackio database", (".db", ".sqlite", ".sqlite3"), b"SQLite format 3\x00", read_database),
    Kind("Parquet", (".parquet",), b"PAR1", read_parquet),
    Kind("JSON lines", (".jsonl", ".ndjson"), b"{", read_json_lines),
    Kind("JSON", (".json",), b"[", read_json),
    Kind("CSV", (".csv", ".tsv"), b"", read_csv),
    Kind("verl console", (".log", ".txt", ".out"), b"", read_console),
)
"""The kinds of files; a further one is TensorBoard's, told by "tfevents" in its name."""


def is_metrics_path(path: str | Path) -> bool:
    """Whether a path is a step-level log rather than a run folder: any file, or a folder of event files."""
    place = Path(path)
    if place.is_dir():
        return not (place / RUN_FILE).exists() and bool(event_files(place))
    return place.is_file() or place.suffix.lower() in {e for kind in KINDS for e in kind.endings}


def read_metrics(path: str | Path) -> Logs:
    """The logs in a file, or in a folder of event files, by name of the run.

    Raises `RunNotFoundError` for no file, `InvalidInputError` for a file that does not read as its kind.
    """
    place = Path(path)
    if place.is_dir():
        return {place.name: read_events(_of_one_run(place))}
    if not place.is_file():
        raise RunNotFoundError(f"No file at {path}")
    if "tfevents" in place.name:
        return {place.name: read_events([place])}
    found = _kind(place).read(place)
    return found if isinstance(found, dict) else {place.name: found}


def _of_one_run(folder: Path) -> list[Path]:
    paths = event_files(folder)
    runs = sorted({path.parent.name for path in paths})
    if len(runs) > 1:
        raise InvalidInputError(
            f"{folder} holds the event files of several runs; name one: {', '.join(runs)}"
        )
    return paths


def _kind(path: Path) -> Kind:
    for kind in KINDS:
        if path.suffix.lower() in kind.endings:
            return kind
    with open(path, "rb") as file:
        head = file.read(64).lstrip()
    for kind in KINDS:
        if kind.begins and head.startswith(kind.begins):
            return kind
    endings = ", ".join(e for kind in KINDS for e in kind.endings)
    raise InvalidInputError(
        f"{path} is no metrics file that is known: {endings}, or TensorBoard's event files"
    )
