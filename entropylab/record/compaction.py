"""Many small files of a run as few large ones: atomic, idempotent, verified before anything is deleted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from ..errors import EntropylabError, RecorderError, StoreError
from .files import Location, delete_files, drop_empty_folders
from .marker import Marker
from .merged_files import moved, part_name, ref_of, rows_of, verify_part, write_part
from .merged_tables import check_readable, commit_evaluations, commit_markers, merged_keys, table_stamp
from .paths import EVALUATIONS
from .reader import open_run
from .redundant import merged_folders, redundant
from .remote import RemotePath
from .row_files import is_shared
from .row_places import COLUMNS, Kind
from .snapshot import Snapshot, SnapshotReader

ROWS_PER_FILE = 4_000_000
"""A merged file ends after the step that reaches this many rows (about 80 MB)."""


@dataclass(frozen=True)
class Compaction:
    """What `compact_run` did: files of the run before and after, and the steps that were merged."""

    files_before: int
    files_after: int
    steps_merged: int


def compact_run(path: str | os.PathLike[str] | RemotePath) -> Compaction:
    """Merge the files of the whole steps of a run; what superseded or incomplete steps left stays as it is.

    The merged markers are the commit: before them the originals count, after them the merged files. A killed
    compaction loses nothing, and the next one finishes it. Raises `RunFormatError` if a file cannot be read,
    `RecorderError` if the folder cannot be written.
    """
    folder = open_run(path).path
    try:
        return _compact(folder)
    except OSError as error:
        if not isinstance(error, StoreError) and isinstance(error, EntropylabError):
            raise
        raise RecorderError(
            f"{folder}: could not be compacted: {error}; nothing is lost, what was merged so far counts. "
            "Mend the cause (disk space, permissions) and compact again"
        ) from error


def _compact(folder: Location) -> Compaction:
    stamp = table_stamp(folder)
    before = SnapshotReader(folder).take()
    check_readable(before)
    merged, pending = _split(before)
    if pending:
        commit_markers(folder, [*merged, *_merge_rows(folder, pending)], stamp)
    if before.inventory.files[EVALUATIONS] and (before.evaluations or before.superseded_evaluations):
        commit_evaluations(folder, [*before.evaluations, *before.superseded_evaluations])
    after = SnapshotReader(folder).take()
    delete_files(folder, redundant(after))
    drop_empty_folders(folder, merged_folders(after))
    steps = {marker.step for marker in pending}
    return Compaction(_count(before), _count(SnapshotReader(folder).take()), len(steps))


def _split(snapshot: Snapshot) -> tuple[list[Marker], list[Marker]]:
    """(markers merged earlier, markers of whole steps that still stand alone, or some of their rows do)."""
    stored = merged_keys(snapshot.folder)
    recorded = {m.key: m for m in snapshot.markers}
    whole = [recorded[m.key] for _, ms in sorted(snapshot.history.whole.items()) for m in ms]
    pending = [m for m in whole if m.key not in stored or _stands_alone(m)]
    waiting = {m.key for m in pending}
    return [m for m in snapshot.markers if m.key in stored - waiting], pending


def _stands_alone(marker: Marker) -> bool:
    """Whether rows of a marker lie in a file of their own: a prune merges the marker, but not the rows."""
    return any(ref is not None and not is_shared(ref) for ref in (marker.tokens, marker.responses))


def _merge_rows(folder: Location, markers: Sequence[Marker]) -> list[Marker]:
    """Write and verify the merged token and response files; the markers with their new places."""
    done = list(markers)
    for kind in COLUMNS:
        for part in _parts(done, kind):
            name = part_name(kind, part)
            write_part(folder, name, part, kind)
            verify_part(folder, name, part, kind)
            keys = {m.key for m in part}
            done = [moved(m, kind, name) if m.key in keys else m for m in done]
    return done


def _parts(markers: Sequence[Marker], kind: Kind) -> Iterator[list[Marker]]:
    """Groups of markers with files of their own, in order, of about `ROWS_PER_FILE` rows."""
    part: list[Marker] = []
    rows = 0
    for marker in markers:
        ref = ref_of(marker, kind)
        if ref is None or is_shared(ref):
            continue
        if rows >= ROWS_PER_FILE and marker.step != part[-1].step:
            yield part
            part, rows = [], 0
        part.append(marker)
        rows += rows_of(marker, kind).ref.rows
    if part:
        yield part


def _count(snapshot: Snapshot) -> int:
    plain = sum(len(files) for files in snapshot.inventory.files.values())
    return plain + sum(len(names) for names in snapshot.inventory.compacted.values())
