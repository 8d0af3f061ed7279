"""Files of a run that merged ones stand for, or that no marker names any more."""

from __future__ import annotations

from .merged_tables import merged_keys
from .paths import COMPACTED, EVALUATIONS, MARKERS, RESPONSES, TOKENS, step_folder
from .run_info import read_json
from .snapshot import Snapshot, evaluation_of, read_table


def redundant(snapshot: Snapshot) -> list[str]:
    """Originals that merged files replace, and files of rows that no marker in the table names."""
    keys = merged_keys(snapshot.folder)
    named = {ref.path for m in snapshot.markers for ref in (m.tokens, m.responses) if ref}
    names = []
    for kind in (TOKENS, RESPONSES, MARKERS):
        own = [f.path for f in snapshot.inventory.files[kind] if (f.step, f.rank, f.attempt) in keys]
        names += [name for name in own if name not in named]
    for kind in (TOKENS, RESPONSES):
        names += [name for name in snapshot.inventory.compacted[kind] if name not in named]
    return names + _merged_evaluations(snapshot)


def _merged_evaluations(snapshot: Snapshot) -> list[str]:
    """Files of evaluations that the merged table holds with the same value."""
    path = snapshot.folder / EVALUATIONS / f"{COMPACTED}.parquet"
    if not path.is_file():
        return []
    merged = {evaluation_of(row, str(path)) for row in read_table(path).to_pylist()}
    unreadable = {problem.path for problem in snapshot.unreadable}
    names = [f.path for f in snapshot.inventory.files[EVALUATIONS] if f.path not in unreadable]
    return [n for n in names if evaluation_of(read_json(snapshot.folder / n), n) in merged]


def merged_folders(snapshot: Snapshot) -> set[str]:
    """The step folders whose files are merged; a process that was killed may have left them empty."""
    steps = {step for step, _, _ in merged_keys(snapshot.folder)}
    rows = {step_folder(kind, step) for kind in (TOKENS, RESPONSES, MARKERS) for step in steps}
    evaluations = (*snapshot.evaluations, *snapshot.superseded_evaluations)
    return rows | {step_folder(EVALUATIONS, e.step) for e in evaluations}
