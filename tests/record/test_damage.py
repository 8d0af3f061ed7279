"""Files that are truncated, empty, foreign, newer or missing are named, and never read as data."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import entropylab as el
from entropylab.errors import RunFormatError, RunNotFoundError
from entropylab.record.merged_files import bits
from entropylab.schema import FORMAT_KEY

TOKENS = "tokens/step-000001/rank-0000-a1.parquet"
MARKER = "markers/step-000001/rank-0000-a1.json"
EVALUATION = "evaluations/step-000001/validation-accuracy-a1.json"


@pytest.fixture(scope="module")
def original(make_run, tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("damage") / "r", steps=3, prompts=6, group=4).path


@pytest.fixture
def folder(original, tmp_path):
    shutil.copytree(original, tmp_path / "r")
    return tmp_path / "r"


def truncate(path):
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def empty(path):
    path.write_bytes(b"")


def foreign(path):
    if path.suffix == ".json":
        path.write_text('{"hello": 1}')
    else:
        pq.write_table(pa.table({"x": [1, 2, 3]}), path)


def newer(path):
    if path.suffix == ".json":
        path.write_text(json.dumps({**json.loads(path.read_text()), "entropylab_format": 99}))
    else:
        table = pq.read_table(path)
        pq.write_table(table.replace_schema_metadata({FORMAT_KEY: b"99"}), path)


def fewer_rows(path):
    pq.write_table(pq.read_table(path).slice(1), path)


def fewer_columns(path):
    pq.write_table(pq.read_table(path).drop_columns(["covariance"]), path)


@pytest.mark.parametrize("damage", [truncate, empty, foreign, newer, fewer_rows, fewer_columns])
def test_a_damaged_token_file(folder, damage):
    damage(folder / TOKENS)
    run = el.open_run(folder)
    (problem,) = run.problems()
    assert (problem.kind, problem.path) == ("unreadable_file", TOKENS)
    assert TOKENS in problem.message
    for steps in (None, 1, [0, 1]):
        with pytest.raises(RunFormatError, match="step-000001/rank-0000-a1"):
            list(run.tokens(steps=steps))
    assert list(run.tokens(steps=[0, 2]))
    assert run.steps()["step"].tolist() == [0, 1, 2]  # the marker's summary is whole


def test_no_flipped_bit_of_the_data_gives_a_wrong_number(folder):
    """Page checksums: a bit in the data raises; one in unused page statistics changes nothing."""
    run, path = el.open_run(folder), folder / TOKENS
    good, expected = path.read_bytes(), list(run.tokens(steps=1))
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunks = [group.column(i) for i in range(group.num_columns)]
    found = 0
    for offset in range(4, max(c.data_page_offset + c.total_compressed_size for c in chunks), 47):
        path.write_bytes(good[:offset] + bytes([good[offset] ^ 0x10]) + good[offset + 1 :])
        try:
            assert all(samebits(*pair) for pair in zip(run.tokens(steps=1), expected, strict=True)), offset
        except RunFormatError:
            found += 1
    assert found > 30


def samebits(left: pa.RecordBatch, right: pa.RecordBatch) -> bool:
    return bits(left).equals(bits(right))


def test_a_missing_token_file(folder):
    (folder / TOKENS).unlink()
    run = el.open_run(folder)
    assert [(p.kind, p.path) for p in run.problems()] == [("unreadable_file", TOKENS)]
    with pytest.raises(RunFormatError, match="missing, although a marker names it"):
        list(run.tokens())


@pytest.mark.parametrize("damage", [truncate, empty, foreign, newer])
def test_a_damaged_marker(folder, damage):
    damage(folder / MARKER)
    run = el.open_run(folder)
    assert run.steps()["step"].tolist() == [0, 2]
    assert [(p.kind, p.path) for p in run.problems()] == [("unreadable_file", MARKER)]
    with pytest.raises(RunFormatError, match="markers/step-000001"):
        run.tokens()
    assert {b["step"][0].as_py() for b in run.tokens(steps=[0, 2])} == {0, 2}


def test_a_marker_with_a_missing_field(folder):
    marker = json.loads((folder / MARKER).read_text())
    del marker["updates"][0]["partial"], marker["checksum"]
    (folder / MARKER).write_text(json.dumps(marker))
    assert "not a whole marker" in el.open_run(folder).problems()[0].message


def test_a_step_without_marker(folder):
    (folder / MARKER).unlink()
    run = el.open_run(folder)
    assert run.steps()["step"].tolist() == [0, 2]
    assert run.token_steps() == [0, 2]
    assert {(p.kind, p.path) for p in run.problems()} == {
        ("incomplete_step", TOKENS),
        ("incomplete_step", TOKENS.replace("tokens", "responses")),
    }
    with pytest.raises(RunNotFoundError, match=r"no token rows of the steps \[1\]"):
        run.tokens(steps=1)


@pytest.mark.parametrize("damage", [truncate, empty, foreign, newer])
def test_a_damaged_evaluation(folder, damage):
    damage(folder / EVALUATION)
    run = el.open_run(folder)
    assert [(p.kind, p.path) for p in run.problems()] == [("unreadable_file", EVALUATION)]
    frame = run.evaluations()
    assert frame[frame["metric"] == "accuracy"]["step"].tolist() == [0, 2, 3]


def test_nan_in_json_is_not_strict(folder):
    text = (folder / EVALUATION).read_text()
    (folder / EVALUATION).write_text(text.replace('"n":6', '"n":NaN'))
    assert "not valid JSON" in el.open_run(folder).problems()[0].message


def test_foreign_files_are_named_but_notes_beside_the_run_are_fine(folder):
    (folder / "tokens/step-000001/notes.txt").write_text("x")
    (folder / "tokens/step=7").mkdir()
    shutil.copy(folder / TOKENS, folder / "tokens/step=7/rank-0000-a1.parquet")
    (folder / "report.html").write_text("fine")
    assert [(p.kind, p.path) for p in el.open_run(folder).problems()] == [
        ("foreign_file", "tokens/step-000001/notes.txt"),
        ("foreign_file", "tokens/step=7/rank-0000-a1.parquet"),
    ]


@pytest.mark.parametrize("damage", [truncate, empty, foreign])
def test_a_damaged_run_file(folder, damage):
    damage(folder / "_run.json")
    with pytest.raises(RunFormatError, match=r"_run\.json"):
        el.open_run(folder)
    with pytest.raises(RunFormatError, match=r"_run\.json"):
        el.open_runs(folder.parent)
    with pytest.raises(RunFormatError, match=r"_run\.json"):
        el.Recorder(folder)


def test_several_damages_leave_the_good_steps(folder):
    truncate(folder / MARKER)
    truncate(folder / "tokens/step-000002/rank-0000-a1.parquet")
    truncate(folder / EVALUATION)
    run = el.open_run(folder)
    assert run.steps()["step"].tolist() == [0, 2]
    assert len(run.problems()) == 3
    assert np.isfinite(run.steps()["entropy_token_mean"]).all()


def test_opening_what_is_no_run(original, tmp_path):
    with pytest.raises(RunNotFoundError, match="no such folder"):
        el.open_run(tmp_path / "nowhere")
    with pytest.raises(RunNotFoundError, match=r"no run here \(no _run.json\)"):
        el.open_run(tmp_path)
    with pytest.raises(RunNotFoundError, match="there is one at"):
        el.open_run(original.parent)
    with pytest.raises(RunNotFoundError, match="not the folder"):
        el.open_run(original / "_run.json")
    with pytest.raises(RunNotFoundError, match="no run at or below"):
        el.open_runs(tmp_path)
    with pytest.raises(RunNotFoundError, match="no such folder"):
        el.open_runs(tmp_path / "nowhere")
    with pytest.raises(el.EntropylabError, match="nosuch"):
        el.open_run("nosuch://bucket/run")
    with pytest.raises(el.EntropylabError, match="names no folder"):
        el.open_run("s3://")
    with pytest.raises(FileNotFoundError):  # also the type of the standard library
        el.open_run(tmp_path)


def test_open_runs_finds_all_below_in_order(original, tmp_path):
    for name in ("b/2", "a", "b/1"):
        shutil.copytree(original, tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert [r.path.relative_to(tmp_path).as_posix() for r in el.open_runs(tmp_path)] == ["a", "b/1", "b/2"]
    (only,) = el.open_runs(str(tmp_path / "a"))
    assert only.name == "a"
    pd.testing.assert_frame_equal(only.steps(), el.open_run(original).steps())


def flip(path) -> bytes:
    """Flip a bit in the middle of the largest column's data; the bytes before."""
    good = path.read_bytes()
    group = pq.ParquetFile(path).metadata.row_group(0)
    chunk = max((group.column(i) for i in range(group.num_columns)), key=lambda c: c.total_compressed_size)
    at = chunk.data_page_offset + chunk.total_compressed_size // 2
    path.write_bytes(good[:at] + bytes([good[at] ^ 1]) + good[at + 1 :])
    return good


def test_a_flipped_bit_in_a_page_is_a_problem_by_name(folder):
    good = flip(folder / TOKENS)
    run = el.open_run(folder)
    (problem,) = run.problems()
    assert (problem.kind, problem.path) == ("unreadable_file", TOKENS)
    assert "damaged" in problem.message
    assert el.open_run(folder).problems() == [problem]  # what is damaged is read again each time
    assert run.problems(pages=False) == []  # footers alone
    (folder / TOKENS).write_bytes(good)
    assert run.problems() == []


def test_the_pages_of_a_file_are_read_once(folder, monkeypatch):
    from entropylab.record import problems

    assert el.open_run(folder).problems() == []
    read = []
    monkeypatch.setattr(problems, "check_pages", lambda folder, name, columns: read.append(name))
    assert el.open_run(folder).problems() == []
    assert read == []
    data = (folder / TOKENS).read_bytes()
    (folder / TOKENS).write_bytes(data)
    assert el.open_run(folder).problems() == []
    assert read == [TOKENS]
