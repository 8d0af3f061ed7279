"""Pruning deletes token rows and nothing else: every summary is the same to the last bit."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

import entropylab as el
from entropylab.errors import InvalidInputError, RecorderError, RunFormatError, RunNotFoundError
from entropylab.record import merged_files, pruning
from entropylab.record.compaction import compact_run
from entropylab.record.marker import Marker
from entropylab.record.pruning import prune_run

MARKER = "markers/step-000001/rank-0000-a1.json"


def frames(path) -> dict[str, pd.DataFrame]:
    """What must stay, made anew: readers' caches are deleted first."""
    shutil.rmtree(path / "cache", ignore_errors=True)
    run = el.open_run(path)
    return {"steps": run.steps(), "updates": run.steps(by="update"), "evaluations": run.evaluations()}


def rows(run: el.Run, steps=None) -> pd.DataFrame:
    return pa.Table.from_batches(list(run.tokens(steps=steps))).to_pandas()


def check_same(before: dict[str, pd.DataFrame], path) -> None:
    for name, frame in frames(path).items():
        pd.testing.assert_frame_equal(before[name], frame, check_exact=True)


def files(path, kind: str) -> list[str]:
    return sorted(p.relative_to(path).as_posix() for p in (path / kind).rglob("*") if p.is_file())


def size(path) -> int:
    return sum((path / n).stat().st_size for kind in ("tokens", "responses") for n in files(path, kind))


@pytest.fixture(scope="module", params=[pytest.param(1, marks=pytest.mark.long), 3])
def original(request, make_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("prune") / "r"
    return make_run(path, steps=7, prompts=6, group=4, updates=2, world_size=request.param).path


@pytest.fixture
def path(original, tmp_path):
    shutil.copytree(original, tmp_path / "r")
    return tmp_path / "r"


@pytest.mark.quick("3-False-False", "3-True-True")
@pytest.mark.parametrize("compacted", [False, True])
@pytest.mark.parametrize("responses", [False, True])
def test_the_summaries_stay_and_the_rows_of_most_steps_go(path, compacted, responses):
    if compacted:
        compact_run(path)
    before, kept = frames(path), rows(el.open_run(path), [0, 3, 6])
    response_rows = sum(b.num_rows for b in el.open_run(path).responses())
    plan = prune_run(path, keep_every=3, responses=responses)
    assert (plan.steps_pruned, plan.steps_kept, plan.done) == ((1, 2, 4, 5), (0, 3, 6), False)
    bytes_before = size(path)
    done = prune_run(path, keep_every=3, responses=responses, dry_run=False)
    assert (done.steps_pruned, done.rows, done.responses) == (plan.steps_pruned, plan.rows, plan.responses)
    assert done.bytes == bytes_before - size(path) > 0
    assert done.files == plan.files
    if not compacted:
        assert done.bytes == plan.bytes
    check_same(before, path)
    run = el.open_run(path)
    assert run.problems() == []
    assert run.token_steps() == [0, 3, 6]
    assert run.pruned_steps() == [1, 2, 4, 5]
    pd.testing.assert_frame_equal(rows(run), kept)
    assert done.rows == int(before["steps"]["n_tokens"].sum()) - len(kept)
    assert response_rows - sum(b.num_rows for b in run.responses()) == done.responses
    assert bool(done.responses) == responses
    with pytest.raises(RunNotFoundError, match=r"steps \[1, 2\] were pruned, their summaries are kept"):
        run.tokens(steps=[1, 2])
    with pytest.raises(RunNotFoundError, match=r"no token rows of the steps \[99\]"):
        run.tokens(steps=[99])
    again = prune_run(path, keep_every=3, responses=responses, dry_run=False)
    assert (again.steps_pruned, again.rows, again.files, again.bytes) == ((), 0, 0, 0)


def test_a_dry_run_changes_nothing(path):
    stamps = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    prune_run(path, keep_every=2)
    assert stamps == {p: p.stat().st_mtime_ns for p in path.rglob("*")}


def test_prune_and_compact_in_any_order_and_again(path):
    before = frames(path)
    prune_run(path, keep_every=2, dry_run=False)
    compact_run(path)
    assert files(path, "responses") == ["responses/compacted/steps-000000-000006-a1.parquet"]
    assert el.open_run(path).problems() == []
    prune_run(path, keep_every=4, dry_run=False)
    prune_run(path, keep_every=3, responses=True, dry_run=False)
    compact_run(path)
    check_same(before, path)
    run = el.open_run(path)
    assert run.problems() == []
    assert (run.token_steps(), run.pruned_steps()) == ([0], [1, 2, 3, 4, 5, 6])
    assert {b["step"][i].as_py() for b in run.responses() for i in range(b.num_rows)} == {0, 3, 6}


@pytest.mark.parametrize("wrong", [0, -1, 2.5, "3", None, True])
def test_a_wrong_number_is_named(path, wrong):
    with pytest.raises(InvalidInputError, match="keep_every must be a whole number"):
        prune_run(path, keep_every=wrong)


def test_every_first_step_is_every_step(path):
    assert prune_run(path, keep_every=1, dry_run=False).steps_pruned == ()


def test_a_reader_beside_it_goes_on_or_says_what_happened(path):
    compact_run(path)
    run = el.open_run(path)
    kept, going = run.tokens(steps=[0, 3]), run.tokens(steps=[1, 3])
    expected = rows(run, [0, 3])
    prune_run(path, keep_every=3, dry_run=False)
    pd.testing.assert_frame_equal(pa.Table.from_batches(list(kept)).to_pandas(), expected)
    with pytest.raises(RunFormatError, match="pruned or superseded while step 1 was read"):
        list(going)


def test_an_open_recorder_is_refused_a_dead_one_is_not(path, batch):
    with el.Recorder(path) as recorder:
        recorder.record(7, **batch(7))
        recorder.end_step(7)
        recorder.flush()
        for dry_run in (True, False):
            with pytest.raises(RecorderError, match=r"rank 0 is being recorded by process \d+ on"):
                prune_run(path, keep_every=2, dry_run=dry_run)
    child = f"""
import os, numpy as np, entropylab as el
recorder = el.Recorder({str(path)!r})
recorder.record(8, logprobs=-np.ones((2, 3)), advantages=np.ones(2), mask=np.ones((2, 3)))
recorder.flush()
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", child], check=False, timeout=60)
    assert list(path.glob("markers/open-*"))
    assert prune_run(path, keep_every=2, dry_run=False).steps_pruned


def test_another_host_s_recorder_is_refused_with_the_mend(path):
    note = {"entropylab_format": 1, "kind": "open", "pid": 7, "host": "elsewhere", "created": "today"}
    (path / "markers/open-rank-0000-a2.json").write_text(json.dumps(note))
    with pytest.raises(RecorderError, match=r"on elsewhere since today.*delete markers/open-rank-0000-a2"):
        prune_run(path, keep_every=2)


def test_incomplete_and_superseded_steps_are_left_alone(path, batch):
    ranks = len(list((path / "markers/step-000005").iterdir()))
    (path / f"markers/step-000005/rank-{ranks - 1:04d}-a1.json").unlink()
    with el.Recorder(path, world_size=ranks) as recorder:  # only rank 0 goes on: its history wins
        recorder.record(6, **batch(6))
    before, problems = frames(path), el.open_run(path).problems()
    left = [n for n in files(path, "tokens") if "step-000005" in n or "step-000006" in n]
    prune_run(path, keep_every=4, dry_run=False)
    check_same(before, path)
    assert [n for n in files(path, "tokens") if "step-000005" in n or "step-000006/rank-0000-a1" in n] == [
        n for n in left if "step-000005" in n or "step-000006/rank-0000-a1" in n
    ]
    assert el.open_run(path).problems() == problems


def test_a_rank_that_is_recorded_again_alone_gets_no_values_of_others(make_run, tmp_path, batch):
    """The kept values are those of other rows, and rows of one rank are none of the step."""
    path = make_run(tmp_path / "r", steps=4, prompts=6, group=4, world_size=2).path
    prune_run(path, keep_every=3, dry_run=False)
    before = frames(path)["steps"]
    with el.Recorder(path, rank=1, world_size=2) as recorder:
        for step in (2, 3):
            recorder.record(step, **batch(step))
    run, after = el.open_run(path), frames(path)["steps"]
    pd.testing.assert_frame_equal(after[:2], before[:2], check_exact=True)
    assert np.isnan(after["top_mean_0.2"][2])
    assert after["n_tokens"][2] != before["n_tokens"][2]
    assert run.token_steps() == [0, 3]
    assert 2 not in rows(run)["step"].unique()
    prune_run(path, keep_every=3, dry_run=False)
    pd.testing.assert_frame_equal(frames(path)["steps"], after, check_exact=True)
    compact_run(path)
    pd.testing.assert_frame_equal(frames(path)["steps"], after, check_exact=True)


def test_sampled_rows_are_pruned_as_well(make_run, tmp_path):
    sampling = el.TokenSampling(every_steps=2, response_fraction=0.5)
    path = make_run(tmp_path / "r", steps=5, prompts=6, group=4, world_size=2, token_sampling=sampling).path
    before = frames(path)
    assert prune_run(path, keep_every=4, dry_run=False).steps_pruned == (2,)
    check_same(before, path)


def test_a_damaged_file_that_is_needed_stops_it_before_anything_is_deleted(path, original):
    several = len(list((path / "tokens/step-000001").iterdir())) > 1
    broken = path / "tokens/step-000001/rank-0000-a1.parquet"
    broken.write_bytes(broken.read_bytes()[:-40])
    shutil.rmtree(path / "cache", ignore_errors=True)
    before = files(path, "tokens")
    if not several:  # its own marker knows everything
        assert prune_run(path, keep_every=2, dry_run=False).steps_pruned == (1, 3, 5)
        return
    with pytest.raises(RunFormatError, match="step-000001/rank-0000-a1"):
        prune_run(path, keep_every=2, dry_run=False)
    assert files(path, "tokens") == before


def test_a_rewritten_file_that_differs_is_never_committed(path, monkeypatch):
    compact_run(path)
    before, names = frames(path), files(path, "tokens")
    write = merged_files.write_part
    monkeypatch.setattr(
        merged_files, "write_part", lambda folder, name, part, kind: write(folder, name, part[1:], kind)
    )
    with pytest.raises(RunFormatError):
        prune_run(path, keep_every=3, dry_run=False)
    assert set(names) <= set(files(path, "tokens"))
    check_same(before, path)
    assert {p.kind for p in el.open_run(path).problems()} == {"leftover"}
    monkeypatch.undo()
    prune_run(path, keep_every=3, dry_run=False)
    check_same(before, path)
    assert el.open_run(path).problems() == []


def test_a_table_written_meanwhile_is_not_overwritten(path, monkeypatch):
    before = frames(path)

    def beside(*arguments):
        compact_run(path)
        return step(*arguments)

    step = pruning.without_rows
    monkeypatch.setattr(pruning, "without_rows", beside)
    with pytest.raises(RunFormatError, match="another compaction or prune has written it meanwhile"):
        prune_run(path, keep_every=3, dry_run=False)
    check_same(before, path)
    assert el.open_run(path).problems() == []


def test_two_at_a_time_are_refused(path, monkeypatch):
    prune = pruning._prune

    def with_another_beside(*arguments):
        monkeypatch.setattr(pruning, "_prune", prune)
        with pytest.raises(RecorderError, match=r"rank 0 of .* is being recorded by process"):
            prune_run(path, keep_every=2, dry_run=False)
        return prune(*arguments)

    monkeypatch.setattr(pruning, "_prune", with_another_beside)
    assert prune_run(path, keep_every=2, dry_run=False).steps_pruned == (1, 3, 5)
    assert not list(path.glob("markers/*.lock"))


def test_a_full_or_read_only_disk_is_told_by_name(path, monkeypatch):
    def refuses(*_):
        raise OSError(28, "No space left on device")

    before = frames(path)
    monkeypatch.setattr(pruning, "commit_markers", refuses)
    with pytest.raises(RecorderError, match=r"could not be pruned: .*No space left.*every summary is kept"):
        prune_run(path, keep_every=2, dry_run=False)
    check_same(before, path)


def test_a_recording_goes_on_after_it(path, batch):
    ranks = len(list((path / "markers/step-000001").iterdir()))
    prune_run(path, keep_every=3, dry_run=False)
    for rank in range(ranks):
        with el.Recorder(path, rank=rank, world_size=ranks) as recorder:
            assert recorder.attempt == 2
            for step in (5, 6, 7):
                recorder.record(step, **batch(10 * step + rank))
    run = el.open_run(path)
    assert run.token_steps() == [0, 3, 5, 6, 7]
    assert {p.kind for p in run.problems()} == {"superseded"}
    before = frames(path)
    prune_run(path, keep_every=6, dry_run=False)
    check_same(before, path)
    assert el.open_run(path).token_steps() == [0, 6]


def change(value: dict, **fields) -> dict:
    return json.loads(json.dumps({**value, **fields}))


EXACT = {"ranks": [[0, 1]], "rows": {"step": {"top_mean_0.2": 1.0}, "0": {"count_high_above": 3}}}
NOTE = {"at": "2026-01-01T00:00:00.000000+00:00", "tokens": 4, "responses": 0}


def test_older_markers_lack_the_fields_and_they_survive_a_round_trip(path):
    value = json.loads((path / MARKER).read_text())
    assert not {"pruned", "exact_of_all_ranks"} & value.keys()
    plain = Marker.from_json(value, "m")
    assert (plain.pruned, plain.exact_of_all_ranks) == (None, None)
    marker = Marker.from_json(change(value, tokens=None, pruned=NOTE, exact_of_all_ranks=EXACT), "m")
    assert not marker.all_tokens_stored
    again = json.loads(json.dumps(marker.to_json()))
    assert (again["pruned"], again["exact_of_all_ranks"]) == (NOTE, EXACT)
    assert Marker.from_json(again, "m") == marker


@pytest.mark.parametrize(
    "wrong",
    [
        {"pruned": NOTE},  # although its token file is named
        {"tokens": None, "pruned": {**NOTE, "tokens": -1}},
        {"tokens": None, "pruned": {**NOTE, "at": "yesterday"}},
        {"tokens": None, "pruned": {"at": NOTE["at"]}},
        {"tokens": None, "pruned": [1]},
        {"exact_of_all_ranks": {**EXACT, "ranks": [[0]]}},
        {"exact_of_all_ranks": {**EXACT, "ranks": [[0, 0]]}},
        {"exact_of_all_ranks": {**EXACT, "ranks": None}},
        {"exact_of_all_ranks": {**EXACT, "rows": {"first": {}}}},
        {"exact_of_all_ranks": {**EXACT, "rows": {"0": {"top_mean_0.2": "high"}}}},
        {"exact_of_all_ranks": {"ranks": []}},
    ],
)
def test_a_wrong_field_is_named(path, wrong):
    value = json.loads((path / MARKER).read_text())
    with pytest.raises(RunFormatError, match="not a whole marker"):
        Marker.from_json(change(value, **wrong), "m")


def test_only_columns_that_do_not_merge_are_taken(path):
    value = json.loads((path / MARKER).read_text())
    smuggled = {**EXACT, "rows": {"0": {"count_high_above": 3, "n_tokens": 1, "entropy_token_mean": 9.0}}}
    marker = Marker.from_json(change(value, exact_of_all_ranks=smuggled), "m")
    assert dict(marker.exact_of_all_ranks.rows) == {"0": {"count_high_above": 3}}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(path):
    (path / "markers").chmod(0o555)
    try:
        assert prune_run(path, keep_every=2).steps_pruned
        with pytest.raises(RecorderError, match="could not be pruned"):
            prune_run(path, keep_every=2, dry_run=False)
    finally:
        (path / "markers").chmod(0o755)
