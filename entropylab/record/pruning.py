"""Token rows of most steps deleted, every summary kept: commit first, delete after, killed anywhere."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..errors import EntropylabError, RecorderError, StoreError
from .arrays import whole_number
from .files import Location, delete_files, drop_empty_folders, stamp_of
from .marker import Marker
from .merged_files import ref_of, rewrite_shared
from .merged_tables import check_readable, commit_markers, merged_keys, table_stamp
from .open_recorders import check_closed, kept_closed
from .paths import RESPONSES, TOKENS
from .pruned_step import Step, without_rows
from .reader import open_run
from .redundant import merged_folders, redundant
from .remote import RemotePath
from .row_places import Kind
from .snapshot import Snapshot, SnapshotReader


@dataclass(frozen=True)
class Pruning:
    """What `prune_run` deleted, or would delete.

    ``steps_pruned``, ``steps_kept``: whole steps whose token rows go and stay. ``rows``, ``responses``: token
    and response rows that go. ``files``, ``bytes``: by how much the files of rows become fewer and smaller;
    before it is done, a merged file that other steps share counts by its share of rows.
    """

    steps_pruned: tuple[int, ...]
    steps_kept: tuple[int, ...]
    rows: int
    responses: int
    files: int
    bytes: int
    done: bool = False


def prune_run(
    path: str | os.PathLike[str] | RemotePath,
    *,
    keep_every: int,
    responses: bool = False,
    dry_run: bool = True,
) -> Pruning:
    """Delete the token rows of whole steps that ``keep_every`` does not divide; steps() stays bit for bit.

    Markers and evaluations are kept, response rows too unless ``responses``. Incomplete and superseded steps
    are left alone. ``dry_run`` only says what would go. The table of markers is the commit: a prune that was
    killed loses no summary, and the next one finishes it. Raises `InvalidInputError` for a wrong number,
    `RecorderError` while the run is recorded or where the folder cannot be written, `RunFormatError` naming
    a file that cannot be read; then nothing was deleted.
    """
    every = whole_number(keep_every, "keep_every", 1, 2**31 - 1)
    kinds: tuple[Kind, ...] = ("tokens", "responses") if responses else ("tokens",)
    folder = open_run(path).path
    try:
        before = _look(folder)
        if dry_run:
            return _plan(before, every, kinds)
        with kept_closed(folder, sorted({m.rank for m in before.markers})):
            return _prune(folder, every, kinds)
    except OSError as error:
        if not isinstance(error, StoreError) and isinstance(error, EntropylabError):
            raise
        raise RecorderError(
            f"{folder}: could not be pruned: {error}; every summary is kept. "
            "Mend the cause (disk space, permissions) and prune again"
        ) from error


def _look(folder: Location) -> Snapshot:
    """The run as it is; refuses one that is recorded, or whose table of markers is damaged."""
    snapshot = SnapshotReader(folder).take()
    check_readable(snapshot)
    check_closed(snapshot)
    return snapshot


def _prune(folder: Location, every: int, kinds: Sequence[Kind]) -> Pruning:
    stamp, before = table_stamp(folder), _look(folder)
    plan, going, sizes = _plan(before, every, kinds), _going(before, every, kinds), _sizes(before)
    if going:
        changed = {m.key: m for step in going for m in without_rows(before, step, kinds)}
        merged = merged_keys(folder)
        table = {m.key: m for m in before.markers if m.key in merged} | changed
        for kind in kinds:
            table |= rewrite_shared(before, list(table.values()), kind)
        commit_markers(folder, list(table.values()), stamp)
    after = SnapshotReader(folder).take()
    delete_files(folder, redundant(after))
    drop_empty_folders(folder, merged_folders(after))
    left = _sizes(SnapshotReader(folder).take())
    fewer, smaller = len(sizes) - len(left), sum(sizes.values()) - sum(left.values())
    return replace(plan, files=fewer, bytes=smaller, done=True)


def _plan(snapshot: Snapshot, every: int, kinds: Sequence[Kind]) -> Pruning:
    going = [m for step in _going(snapshot, every, kinds) for m in step]
    rows = {kind: sum(ref.rows for m in going if (ref := ref_of(m, kind))) for kind in kinds}
    stored = {step for step, markers in snapshot.history.whole.items() if any(m.tokens for m in markers)}
    lost = {m.step for m in going if m.tokens}
    shares, sizes = _shares(snapshot, going, kinds), _sizes(snapshot)
    return Pruning(
        steps_pruned=tuple(sorted(lost)),
        steps_kept=tuple(sorted(stored - lost)),
        rows=rows["tokens"],
        responses=rows.get("responses", 0),
        files=sum(share == 1.0 for share in shares.values()),
        bytes=round(sum(share * sizes.get(name, 0) for name, share in shares.items())),
    )


def _going(snapshot: Snapshot, every: int, kinds: Sequence[Kind]) -> list[Step]:
    """The whole steps to prune, by the markers as they are stored."""
    recorded = {m.key: m for m in snapshot.markers}
    steps = [tuple(recorded[m.key] for m in markers) for _, markers in sorted(snapshot.history.whole.items())]
    return [s for s in steps if s[0].step % every and any(ref_of(m, kind) for m in s for kind in kinds)]


def _shares(snapshot: Snapshot, going: Sequence[Marker], kinds: Sequence[Kind]) -> dict[str, float]:
    """By file of rows the share of them that goes; what an interrupted prune left goes as a whole."""
    keys = {m.key for m in going}
    total: dict[str, int] = {}
    lost: dict[str, int] = {}
    for marker in snapshot.markers:
        for kind in kinds:
            ref = ref_of(marker, kind)
            if ref is not None:
                total[ref.path] = total.get(ref.path, 0) + ref.rows
                lost[ref.path] = lost.get(ref.path, 0) + ref.rows * (marker.key in keys)
    found = {name: rows / total[name] for name, rows in lost.items() if rows}
    left = [name for name in redundant(snapshot) if name.startswith((f"{TOKENS}/", f"{RESPONSES}/"))]
    return found | dict.fromkeys(left, 1.0)


def _sizes(snapshot: Snapshot) -> dict[str, int]:
    """Bytes of every file of rows."""
    inventory = snapshot.inventory
    kinds = (TOKENS, RESPONSES)
    names = [
        name
        for kind in kinds
        for name in (*(f.path for f in inventory.files[kind]), *inventory.compacted[kind])
    ]
    found = {name: inventory.stamps.get(name) or stamp_of(snapshot.folder / name) for name in names}
    return {name: stamp[0] for name, stamp in found.items() if stamp is not None}
