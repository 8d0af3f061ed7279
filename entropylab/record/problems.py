"""Everything that is wrong with a run folder, by name."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from ..errors import RunFormatError
from ..schema import RESPONSE_COLUMNS, TOKEN_COLUMNS
from .inventory import StoredFile
from .marker import Marker
from .merging import merge_partials
from .open_recorders import is_alive
from .paths import EVALUATIONS, MARKERS, RESPONSES, TOKENS, parse_open_file, rank_file, step_folder
from .problem import Problem
from .row_files import Rows, check_pages, check_rows
from .run_info import read_json
from .snapshot import Snapshot
from .verified_files import VerifiedFiles


def find_problems(
    snapshot: Snapshot, verified: VerifiedFiles | None = None, *, rows: bool = True
) -> list[Problem]:
    """All problems of a run, sorted; empty when all is well. Opens the footer of every Parquet file.

    Without ``rows`` the files of token and response rows are not opened. With ``verified`` every page of them
    is read and compared with its checksum too, except of files it holds.
    """
    checks: tuple[Callable[[Snapshot], Iterator[Problem]], ...] = (
        _stray_files,
        _without_marker,
        _leftovers,
        _missing_ranks,
        _superseded,
        _values,
        _interrupted,
    )
    found = set(snapshot.unreadable)
    for check in checks:
        found.update(check(snapshot))
    if rows:
        found.update(_damaged_rows(snapshot, verified))
    return sorted(found)


def _stray_files(snapshot: Snapshot) -> Iterator[Problem]:
    for name in snapshot.inventory.temporaries:
        yield Problem("temporary_file", name, f"{name}: left by a process that died while writing; delete it")
    for name in snapshot.inventory.foreign:
        yield Problem("foreign_file", name, f"{name}: not a file of entropylab; move it out of the run")


def _without_marker(snapshot: Snapshot) -> Iterator[Problem]:
    """Token or response files of steps that were never finished."""
    marked = {marker.key for marker in snapshot.markers}
    unread = {problem.path for problem in snapshot.unreadable}
    for kind in (TOKENS, RESPONSES):
        for file in snapshot.inventory.files[kind]:
            marker = rank_file(MARKERS, file.step, file.rank, file.attempt)
            if (file.step, file.rank, file.attempt) not in marked and marker not in unread:
                yield _unfinished(snapshot, file)


def _unfinished(snapshot: Snapshot, file: StoredFile) -> Problem:
    """A file of a step that was under way when its process died; a later attempt may hold the step."""
    where = f"step {file.step}, rank {file.rank}"
    whole = snapshot.history.whole.get(file.step, ())
    later = [m.attempt for m in whole if m.rank == file.rank and m.attempt > file.attempt]
    if not later:
        return Problem("incomplete_step", file.path, f"{where}: no marker, so not finished and left out")
    text = (
        f"{where}: attempt {file.attempt} ended in this step, attempt {max(later)} holds it; delete the file"
    )
    return Problem("superseded", file.path, text)


def _leftovers(snapshot: Snapshot) -> Iterator[Problem]:
    """Row files that no marker names, though their step has one: an interrupted compaction or prune."""
    named = {ref.path for m in snapshot.markers for ref in (m.tokens, m.responses) if ref}
    marked = {marker.key: marker for marker in snapshot.markers}
    mend = "left by an interrupted compaction or prune; compact the run again"
    for kind in (TOKENS, RESPONSES):
        for file in snapshot.inventory.files[kind]:
            marker = marked.get((file.step, file.rank, file.attempt))
            if marker is None or file.path in named:
                continue
            pruned = marker.pruned is not None and getattr(marker.pruned, kind)
            text = (
                "its rows were pruned, the prune was interrupted; prune or compact again" if pruned else mend
            )
            yield Problem("leftover", file.path, f"{file.path}: {text}")
        for name in snapshot.inventory.compacted[kind]:
            if name not in named:
                yield Problem("leftover", name, f"{name}: {mend}")


def _missing_ranks(snapshot: Snapshot) -> Iterator[Problem]:
    for step, markers in snapshot.history.incomplete.items():
        missing = snapshot.history.missing_ranks(step)
        text = f"step {step}: ranks {missing} of {markers[0].world_size} are missing, so the step is left out"
        yield Problem("missing_ranks", step_folder(MARKERS, step), text)


def _superseded(snapshot: Snapshot) -> Iterator[Problem]:
    attempts: dict[tuple[int, int], list[int]] = {}
    for marker in snapshot.history.superseded:
        attempts.setdefault((marker.rank, marker.attempt), []).append(marker.step)
    for (rank, attempt), steps in attempts.items():
        text = (
            f"rank {rank}, attempt {attempt}: steps {min(steps)} to {max(steps)} were superseded by a "
            "restart, whose rows count; a training that is no restart needs a folder of its own"
        )
        yield Problem("superseded", MARKERS, text)
    for e in snapshot.superseded_evaluations:
        text = f"{e.split}/{e.metric} at step {e.step} of attempt {e.attempt} was superseded by a restart"
        yield Problem("superseded", step_folder(EVALUATIONS, e.step), text)


def _damaged_rows(snapshot: Snapshot, verified: VerifiedFiles | None) -> Iterator[Problem]:
    checked, listed = set(), snapshot.inventory.stamps
    for marker in snapshot.markers:
        for ref, columns in ((marker.tokens, TOKEN_COLUMNS), (marker.responses, RESPONSE_COLUMNS)):
            if ref is None or (ref.path in checked and "/compacted/" in ref.path):
                continue
            checked.add(ref.path)
            try:
                check_rows(snapshot.folder, Rows(marker.step, marker.rank, ref), columns)
                if verified is not None and not verified.holds(ref.path, listed):
                    check_pages(snapshot.folder, ref.path, columns)
                    verified.add(ref.path, listed)
            except RunFormatError as error:
                yield Problem("unreadable_file", ref.path, str(error))


def _values(snapshot: Snapshot) -> Iterator[Problem]:
    """Steps with values that are not finite, and updates without a token."""
    for step, markers in snapshot.history.whole.items():
        path = step_folder(MARKERS, step)
        count = sum(u.partial.nonfinite_count for m in markers for u in m.updates)
        if count:
            text = f"step {step}: {count} values are NaN or infinite; the statistics they touch are null"
            yield Problem("nonfinite_values", path, text)
        for update in _empty_updates(markers):
            yield Problem("empty_update", path, f"step {step}, update {update}: no token inside the mask")


def _empty_updates(markers: tuple[Marker, ...]) -> list[int]:
    updates = sorted({u.update for m in markers for u in m.updates})
    return [
        update
        for update in updates
        if merge_partials(u.partial for m in markers for u in m.updates if u.update == update).n_tokens == 0
    ]


def _interrupted(snapshot: Snapshot) -> Iterator[Problem]:
    """Recorders that were never closed, whose process is gone, and that no later attempt made good."""
    for name in snapshot.inventory.open_files:
        rank, attempt = parse_open_file(name.rsplit("/", 1)[1]) or (0, 0)
        try:
            note = read_json(snapshot.folder / name)
        except FileNotFoundError:
            continue  # closed since the inventory was taken
        except RunFormatError as error:
            yield Problem("unreadable_file", name, str(error))
            continue
        if not is_alive(note) and not _made_good(snapshot.markers, rank, attempt, note):
            yield Problem("interrupted", name, _interruption(snapshot.markers, rank, attempt, note))


def _made_good(markers: Sequence[Marker], rank: int, attempt: int, note: dict[str, object]) -> bool:
    """Whether a later attempt of the rank began no later than where this one ended, or had begun."""
    later = [m.step for m in markers if m.rank == rank and m.attempt > attempt]
    own = [m.step for m in markers if m.rank == rank and m.attempt == attempt]
    if own:
        return bool(later) and min(later) <= max(own) + 1
    first = note.get("first_step")
    return bool(later) and (not isinstance(first, int) or min(later) <= first)


def _interruption(markers: Sequence[Marker], rank: int, attempt: int, note: dict[str, object]) -> str:
    own = [m.step for m in markers if (m.rank, m.attempt) == (rank, attempt)]
    first = note.get("first_step")
    began = "" if first is None else f" (it began with step {first})"
    last = f"its last whole step is {max(own)}" if own else f"it finished no step{began}"
    reason = note.get("interrupted") or f"its process {note.get('pid')} is gone"
    step = note.get("step_under_way")
    lost = "what came after is lost" if step is None else f"step {step}, under way, is lost"
    return f"rank {rank}, attempt {attempt} was not closed ({reason}); {last}, {lost}"
