"""Runs in an object store: a real S3 server (moto) over HTTP, and fsspec's store in memory."""

from __future__ import annotations

import json
import shutil
import uuid

import pandas as pd
import pyarrow as pa
import pytest
from store_server import settings, store_server

import entropylab as el
from entropylab.errors import RecorderError, RunFormatError, RunNotFoundError
from entropylab.record import compaction
from entropylab.record.compaction import compact_run
from entropylab.record.pruning import prune_run
from entropylab.record.remote import RemotePath


@pytest.fixture(scope="module")
def s3():
    """URL settings of an S3 server in a process of its own."""
    with store_server() as port:
        yield settings(port)


@pytest.fixture(params=["s3", "memory"])
def base(request, tmp_path, monkeypatch):
    """A URL of an empty place; what readers compute is kept below the test's folder."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    if request.param == "memory":
        pytest.importorskip("fsspec")
        return f"memory://{uuid.uuid4()}"
    for name, value in {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "key"}.items():
        monkeypatch.setenv(name, value)
    return f"s3://runs/{uuid.uuid4()}?{request.getfixturevalue('s3')}"


def write(where, batch, steps, world_size=1, **settings):
    for rank in range(world_size):
        with el.Recorder(where, rank=rank, world_size=world_size, **settings) as recorder:
            for step in steps:
                recorder.record(step, **batch(10 * step + rank))
                if rank == 0:
                    recorder.evaluate(step, value=step / 10, n=5)


def content(run: el.Run) -> dict[str, pd.DataFrame]:
    return {
        "steps": run.steps().drop(columns="recorded_at"),
        "updates": run.steps(by="update").drop(columns="recorded_at"),
        "evaluations": run.evaluations(),
        "tokens": pa.Table.from_batches(list(run.tokens())).to_pandas(),
        "responses": pa.Table.from_batches(list(run.responses())).to_pandas(),
    }


def check_same(left, right) -> None:
    for name, frame in left.items():
        pd.testing.assert_frame_equal(frame, right[name], check_exact=True)


@pytest.mark.quick("memory-1", "s3-2")
@pytest.mark.parametrize(("base", "world_size"), [("memory", 1), ("memory", 2), ("s3", 2)], indirect=["base"])
def test_a_run_is_the_same_as_in_a_local_folder(base, tmp_path, batch, world_size):
    where = RemotePath(base) / "a/b"
    write(where.url, batch, range(3), world_size)
    write(tmp_path / "r", batch, range(3), world_size)
    run, local = el.open_run(where.url), el.open_run(tmp_path / "r")
    expected = content(local)
    check_same(expected, content(run))
    assert run.problems() == []
    assert (run.name, str(run.path)) == ("b", base.split("?")[0] + "/a/b")
    assert [r.path for r in el.open_runs(base)] == [where]
    done = compact_run(where.url)
    assert done.steps_merged == 3
    assert done.files_after == 4
    check_same(expected, content(el.open_run(where.url)))
    check_same(expected, content(run))  # a reader that was open all the time
    assert run.problems() == []
    assert run.token_steps() == [0, 1, 2]
    assert compact_run(where.url).steps_merged == 0


@pytest.mark.quick("memory-*")
@pytest.mark.parametrize("compacted", [False, True])
def test_pruning_keeps_every_summary(base, tmp_path, batch, compacted):
    write(base, batch, range(4), world_size=2)
    if compacted:
        compact_run(base)
    before = content(el.open_run(base))
    assert prune_run(base, keep_every=3).steps_pruned == (1, 2)
    done = prune_run(base, keep_every=3, dry_run=False)
    assert done.done
    assert done.bytes > 0
    shutil.rmtree(tmp_path / "cache")
    run = el.open_run(base)
    expected = before["tokens"][before["tokens"]["step"].isin([0, 3])].reset_index(drop=True)
    check_same({**before, "tokens": expected}, content(run))
    assert run.problems() == []
    assert run.pruned_steps() == [1, 2]
    compact_run(base)
    check_same({**before, "tokens": expected}, content(el.open_run(base)))


@pytest.mark.quick("memory")
def test_a_restart_is_a_new_attempt_and_its_history_wins(base, batch):
    write(base, batch, range(4))
    write(base, batch, range(2, 6))
    run = el.open_run(base)
    assert run.steps()["step"].tolist() == list(range(6))
    assert len(run.info["attempts"]) == 2
    assert {p.kind for p in run.problems()} == {"superseded"}
    compact_run(base)
    assert run.steps()["step"].tolist() == list(range(6))
    write(base, batch, [6])
    assert len(el.open_run(base).info["attempts"]) == 3


def test_damage_is_named(base, batch):
    write(base, batch, range(3))
    place = RemotePath(base) / "tokens/step-000001/rank-0000-a1.parquet"
    data = place.read_bytes()
    place.write(lambda file: file.write(data[:-30]))
    (RemotePath(base) / "markers/step-000002/rank-0000-a1.json").write(lambda file: file.write(b"{"))
    (RemotePath(base) / "tokens/step-000000/notes.txt").write(lambda file: file.write(b"x"))
    run = el.open_run(base)
    assert {(p.kind, p.path) for p in run.problems()} == {
        ("unreadable_file", "tokens/step-000001/rank-0000-a1.parquet"),
        ("unreadable_file", "markers/step-000002/rank-0000-a1.json"),
        ("foreign_file", "tokens/step-000000/notes.txt"),
    }
    assert run.steps()["step"].tolist() == [0, 1]
    with pytest.raises(RunFormatError, match="step-000001"):
        list(run.tokens(steps=[1]))
    assert list(run.tokens(steps=[0]))


class KilledError(Exception):
    pass


MOMENTS = ("write_part", "verify_part", "commit_markers", "delete_files")


@pytest.mark.quick("memory-*")
@pytest.mark.parametrize(
    ("base", "moment"),
    [*(("memory", moment) for moment in MOMENTS), ("s3", "commit_markers"), ("s3", "delete_files")],
    indirect=["base"],
)
def test_compaction_killed_anywhere_loses_nothing(base, batch, monkeypatch, moment):
    write(base, batch, range(3), world_size=2)
    before = content(el.open_run(base))
    step = getattr(compaction, moment)

    def dies(*arguments):
        if moment == "delete_files":
            step(arguments[0], arguments[1][::2])  # half way through
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(compaction, moment, dies)
        with pytest.raises(KilledError):
            compact_run(base)
    check_same(before, content(el.open_run(base)))
    compact_run(base)
    check_same(before, content(el.open_run(base)))
    assert el.open_run(base).problems() == []


def test_opening_what_is_no_run(base, batch):
    for call in (el.open_run, el.open_runs):
        with pytest.raises(RunNotFoundError, match="no such folder"):
            call(base)
    (RemotePath(base) / "notes.txt").write(lambda file: file.write(b"x"))
    with pytest.raises(RunNotFoundError, match=r"make one with el\.Recorder"):
        el.open_run(base)
    write((RemotePath(base) / "below").url, batch, [0])
    with pytest.raises(RunNotFoundError, match=r"there is one at .*below"):
        el.open_run(base)


@pytest.mark.parametrize("base", ["s3"], indirect=True)
def test_a_bucket_that_does_not_exist(base):
    nowhere = base.replace("s3://runs/", "s3://nobucket/")
    with pytest.raises(RecorderError, match=r"cannot write a run to s3://nobucket"):
        el.Recorder(nowhere)


@pytest.mark.parametrize("base", ["s3"], indirect=True)
def test_credentials_and_settings_are_never_shown(base):
    place = RemotePath(base.replace("s3://", "s3://me:secret@"))
    assert "secret" not in f"{place} {place!r}"
    assert "endpoint" not in f"{place} {place!r}"


def test_what_readers_compute_is_kept_on_this_machine(base, tmp_path, batch):
    write(base, batch, range(2), world_size=2)
    frame = el.open_run(base).steps()
    kept = [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    assert kept
    assert not any("cache" in name for name, _ in RemotePath(base).files())
    pd.testing.assert_frame_equal(frame, el.open_run(base).steps())


@pytest.mark.parametrize("base", ["s3"], indirect=True)
def test_the_store_that_goes_away_surfaces_in_the_training_process(base, batch, monkeypatch):
    recorder = el.Recorder(base)
    recorder.record(0, **batch(0))
    recorder.flush()

    def broken(*_):
        raise OSError("connection reset")

    monkeypatch.setattr(RemotePath, "write", broken)
    recorder.record(1, **batch(1))
    recorder.end_step(1)
    with pytest.raises(RecorderError, match=r"could not write.*connection reset"):
        recorder.close()
    assert json.loads((RemotePath(base) / "_run.json").read_bytes())["kind"] == "run"
    assert el.open_run(base).steps()["step"].tolist() == [0]
