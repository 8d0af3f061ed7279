"""Compaction changes the number of files and nothing else, and survives being killed anywhere."""

from __future__ import annotations

import os
import shutil

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import entropylab as el
from entropylab.errors import RunFormatError
from entropylab.record import compaction, merged_files
from entropylab.record.compaction import compact_run


def content(run: el.Run) -> dict[str, pd.DataFrame]:
    return {
        "steps": run.steps(),
        "updates": run.steps(by="update"),
        "evaluations": run.evaluations(),
        "tokens": pa.Table.from_batches(list(run.tokens())).to_pandas(),
        "responses": pa.Table.from_batches(list(run.responses())).to_pandas(),
    }


def check_same(before: dict[str, pd.DataFrame], run: el.Run) -> None:
    for name, frame in content(run).items():
        pd.testing.assert_frame_equal(before[name], frame, check_exact=True)


def files(folder) -> list[str]:
    return sorted(
        p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file() and "cache" not in p.parts
    )


@pytest.fixture(scope="module")
def copy_of(make_run, tmp_path_factory):
    """A copy of a run of so many steps and ranks, which is made once."""
    folder = tmp_path_factory.mktemp("originals")

    def copy(path, steps, world_size=1):
        original = folder / f"{steps}-{world_size}"
        if not original.exists():
            make_run(original, steps=steps, prompts=6, group=4, world_size=world_size)
            shutil.rmtree(original / "cache", ignore_errors=True)
        shutil.copytree(original, path)
        return el.open_run(path)

    return copy


@pytest.fixture(params=[pytest.param(1, marks=pytest.mark.long), 3])
def run(request, copy_of, tmp_path):
    return copy_of(tmp_path / "r", 5, request.param)


def test_the_content_is_the_same_and_the_files_are_few(run):
    before = content(run)
    direct = pd.read_parquet(run.path / "tokens")
    done = compact_run(run.path)
    after = el.open_run(run.path)
    check_same(before, after)
    check_same(before, run)  # a reader that was open all the time
    pd.testing.assert_frame_equal(direct, pd.read_parquet(run.path / "tokens"))
    assert after.problems() == []
    assert files(run.path) == [
        "_run.json",
        "evaluations/compacted.parquet",
        "markers/compacted.parquet",
        "responses/compacted/steps-000000-000004-a1.parquet",
        "tokens/compacted/steps-000000-000004-a1.parquet",
    ]
    ranks = before["steps"]["n_ranks"][0]
    assert (done.steps_merged, done.files_before, done.files_after) == (5, 15 * ranks + 18, 4)
    assert after.token_steps() == [0, 1, 2, 3, 4]
    part = pa.Table.from_batches(list(after.tokens(steps=[1, 3], columns=["logprob"]))).to_pandas()
    wanted = before["tokens"][before["tokens"]["step"].isin([1, 3])][["logprob"]]
    pd.testing.assert_frame_equal(part, wanted.reset_index(drop=True))


def test_twice_is_once(run):
    compact_run(run.path)
    stamps = {name: os.stat(run.path / name).st_mtime_ns for name in files(run.path)}
    again = compact_run(run.path)
    assert (again.steps_merged, again.files_before, again.files_after) == (0, 4, 4)
    assert stamps == {name: os.stat(run.path / name).st_mtime_ns for name in files(run.path)}


def test_parts_end_at_whole_steps(run, monkeypatch):
    before = content(run)
    monkeypatch.setattr(compaction, "ROWS_PER_FILE", 150)
    compact_run(run.path)
    assert len(list((run.path / "tokens/compacted").iterdir())) > 1
    check_same(before, el.open_run(run.path))


def test_a_compacted_run_goes_on(copy_of, tmp_path, batch):
    run = copy_of(tmp_path / "r", 4)
    compact_run(run.path)
    with el.Recorder(run.path) as recorder:
        assert recorder.attempt == 2
        for step in (2, 3, 4):
            recorder.record(step, **batch(step))
        recorder.evaluate(4, value=0.9, n=3)
    run = el.open_run(run.path)
    before, problems = content(run), run.problems()
    assert before["steps"]["step"].tolist() == [0, 1, 2, 3, 4]
    assert {p.kind for p in problems} == {"superseded"}
    compact_run(run.path)
    check_same(before, el.open_run(run.path))
    assert el.open_run(run.path).problems() == problems
    with el.Recorder(run.path) as recorder:
        assert recorder.attempt == 3


class KilledError(Exception):
    pass


@pytest.mark.quick("False-delete_files", "True-write_part", "True-commit_markers", "True-commit_evaluations")
@pytest.mark.parametrize(
    "moment", ["write_part", "verify_part", "commit_markers", "commit_evaluations", "delete_files"]
)
@pytest.mark.parametrize("after_it", [False, True])
def test_killed_anywhere_nothing_is_lost_and_the_next_one_finishes(
    copy_of, tmp_path, monkeypatch, moment, after_it
):
    run = copy_of(tmp_path / "r", 3, 2)
    before = content(run)
    step = getattr(compaction, moment)

    def dies(*arguments):
        if after_it:
            step(*arguments)
        elif moment == "delete_files":
            step(arguments[0], arguments[1][::2])  # half way through
        raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(compaction, moment, dies)
        with pytest.raises(KilledError):
            compact_run(run.path)
    check_same(before, el.open_run(run.path))
    assert {p.kind for p in el.open_run(run.path).problems()} <= {"leftover"}
    compact_run(run.path)
    check_same(before, el.open_run(run.path))
    assert el.open_run(run.path).problems() == []
    assert len(files(run.path)) == 5


def test_a_damaged_file_stops_it_before_anything_is_deleted(copy_of, tmp_path):
    run = copy_of(tmp_path / "r", 3)
    path = run.path / "tokens/step-000001/rank-0000-a1.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    before = files(run.path)
    with pytest.raises(RunFormatError, match="step-000001/rank-0000-a1"):
        compact_run(run.path)
    assert files(run.path) == before


def test_a_merged_file_that_differs_is_never_committed(copy_of, tmp_path, monkeypatch):
    run = copy_of(tmp_path / "r", 3)
    before = content(run)
    write = compaction.write_part

    def write_wrong(folder, name, part, kind):
        write(folder, name, part, kind)
        if kind == "tokens":
            table = pq.read_table(folder / name)
            column = pc.invert(table["selected"])
            index = table.schema.names.index("selected")
            pq.write_table(table.set_column(index, table.schema.field(index), column), folder / name)

    monkeypatch.setattr(compaction, "write_part", write_wrong)
    with pytest.raises(RunFormatError, match="differs from what it was merged from"):
        compact_run(run.path)
    check_same(before, el.open_run(run.path))


def test_incomplete_and_superseded_steps_stay_as_they_are(copy_of, tmp_path, batch):
    run = copy_of(tmp_path / "r", 4)
    (run.path / "markers/step-000003/rank-0000-a1.json").unlink()
    with el.Recorder(run.path) as recorder:
        recorder.record(2, **batch(2))
    run = el.open_run(run.path)
    before, problems = content(run), run.problems()
    compact_run(run.path)
    check_same(before, el.open_run(run.path))
    assert el.open_run(run.path).problems() == problems
    assert "tokens/step-000002/rank-0000-a1.parquet" in files(run.path)


def test_nan_rows_and_sampled_rows_are_kept(tmp_path, batch):
    sampling = el.TokenSampling(every_steps=2, response_fraction=0.5)
    with el.Recorder(tmp_path / "r", token_sampling=sampling) as recorder:
        for step in range(4):
            b = batch(step)
            b["logprobs"][:, 0] = float("nan")
            recorder.record(step, **b)
    before = content(el.open_run(tmp_path / "r"))
    compact_run(tmp_path / "r")
    check_same(before, el.open_run(tmp_path / "r"))


def test_a_damaged_compacted_file_is_named(copy_of, tmp_path):
    run = copy_of(tmp_path / "r", 3)
    compact_run(run.path)
    for name in files(run.path)[1:]:
        shutil.copytree(run.path, tmp_path / "copy")
        path = tmp_path / "copy" / name
        path.write_bytes(path.read_bytes()[:100])
        broken = el.open_run(tmp_path / "copy")
        assert any((p.kind, p.path) == ("unreadable_file", name) for p in broken.problems())
        if name.startswith(("markers", "evaluations")):
            with pytest.raises(RunFormatError, match="compacted"):
                compact_run(tmp_path / "copy")
        if name.startswith(("tokens", "markers")):
            with pytest.raises(RunFormatError, match="compacted"):
                list(broken.tokens())
        shutil.rmtree(tmp_path / "copy")


def test_a_reader_beside_a_compaction_goes_on_in_the_merged_file(run):
    expected = content(run)["tokens"]
    batches = run.tokens()
    first = next(batches)
    compact_run(run.path)
    found = pa.Table.from_batches([first, *batches]).to_pandas()
    pd.testing.assert_frame_equal(expected, found)


def test_a_file_that_is_gone_for_good_is_still_named(run):
    batches = run.tokens()
    next(batches)
    shutil.rmtree(run.path / "tokens/step-000003")
    with pytest.raises(RunFormatError, match=r"step-000003.*missing, although a marker names it"):
        list(batches)


def test_a_full_or_read_only_disk_is_told_by_name(run, monkeypatch):
    def refuses(*_):
        raise OSError(28, "No space left on device")

    before = content(run)
    monkeypatch.setattr(merged_files, "replace_file", refuses)
    with pytest.raises(el.errors.RecorderError, match=r"could not be compacted: .*No space left"):
        compact_run(run.path)
    check_same(before, el.open_run(run.path))
