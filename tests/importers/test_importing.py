"""What every import promises: nothing overwritten, nothing half-written, nothing broken in silence."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from foreign_dumps import nemo_rl, prime_rl_exports, prime_rl_traces
from hypothesis import HealthCheck, given, settings, strategies as st

import entropylab as el
from entropylab.errors import EntropylabError, RunNotFoundError, UnknownNameError
from entropylab.importers import importing
from entropylab.importers.faults import DestinationExistsError, MalformedRecordError, UnrecognizedSourceError
from entropylab.importers.formats import FORMATS
from entropylab.importers.importing import import_run


@pytest.fixture(scope="module")
def dumps(tmp_path_factory, fixtures) -> dict[str, Path]:
    """One whole dump of each text format; treat as read-only."""
    root = tmp_path_factory.mktemp("dumps")
    prime_rl_exports(root / "exports", steps=2, each=2)
    prime_rl_traces(root / "traces", steps=2, each=2)
    nemo_rl(root / "nemo", steps=2, each=2)
    shutil.copytree(fixtures / "verl" / "rollout_data", root / "verl")
    shutil.copytree(fixtures / "trl" / "completions", root / "trl")
    return {
        "prime-rl": root / "exports",
        "prime-rl traces": root / "traces",
        "nemo-rl": root / "nemo",
        "verl": root / "verl",
        "trl": root / "trl",
    }


KINDS = ["prime-rl", "prime-rl traces", "nemo-rl", "verl", "trl"]


def format_of(kind):
    return kind.split()[0]


@pytest.mark.parametrize("kind", KINDS)
def test_an_existing_destination_is_refused(dumps, tmp_path, kind):
    (tmp_path / "run").mkdir()
    with pytest.raises(DestinationExistsError, match="exists already"):
        import_run(format_of(kind), dumps[kind], tmp_path / "run")
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_a_source_that_is_not_there(tmp_path):
    with pytest.raises(RunNotFoundError, match="no such file or folder"):
        import_run("verl", tmp_path / "absent", tmp_path / "run")


def test_an_unknown_format_lists_those_there_are(tmp_path):
    with pytest.raises(UnknownNameError, match="prime-rl, miles, verl, trl, nemo-rl"):
        import_run("slime", tmp_path, tmp_path / "run")


@pytest.mark.parametrize("name", FORMATS)
def test_the_wrong_format_says_what_was_looked_for(tmp_path, name):
    (tmp_path / "dump").mkdir()
    (tmp_path / "dump" / "notes.txt").write_text("nothing")
    with pytest.raises(UnrecognizedSourceError, match="looked for"):
        import_run(name, tmp_path / "dump", tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("content", [b"", b"\n\n", b"\x00\xff\xfe garbage", b"[1]\n", b'{"a": 1}\n'])
def test_empty_and_foreign_files_are_no_run(dumps, tmp_path, kind, content):
    shutil.copytree(dumps[kind], tmp_path / "dump")
    for path in (tmp_path / "dump").rglob("*"):
        if path.is_file() and path.suffix in (".jsonl", ".parquet"):
            path.write_bytes(content)
    with pytest.raises(UnrecognizedSourceError, match="none holds a usable record"):
        import_run(format_of(kind), tmp_path / "dump", tmp_path / "run")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["dump"]


@pytest.mark.parametrize("kind", ["prime-rl", "prime-rl traces", "nemo-rl", "verl"])
def test_a_broken_line_is_counted_or_with_strict_the_end(dumps, tmp_path, kind):
    shutil.copytree(dumps[kind], tmp_path / "dump")
    path = sorted(p for p in (tmp_path / "dump").rglob("*.jsonl"))[0]
    with open(path, "a") as file:
        file.write('{"torn": \n')
    number = len(path.read_text().splitlines())
    whole = import_run(format_of(kind), dumps[kind], tmp_path / "whole")
    report = import_run(format_of(kind), tmp_path / "dump", tmp_path / "run")
    assert (report.n_faults, report.responses) == (1, whole.responses)
    assert report.faults[0].startswith(f"{path}, line {number}: not whole JSON")
    assert json.loads((tmp_path / "run" / "import.json").read_text())["n_faults"] == 1
    with pytest.raises(MalformedRecordError, match=f"line {number}"):
        import_run(format_of(kind), tmp_path / "dump", tmp_path / "strict", strict=True)
    assert not (tmp_path / "strict").exists()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(kind=st.sampled_from(KINDS), choice=st.integers(0, 10**6), cut=st.floats(0, 1))
def test_a_truncated_file_is_never_silent(dumps, tmp_path, kind, choice, cut):
    """Cut anywhere: either whole lines are lost at a line's end, or there is a fault or a named error."""
    work = tmp_path / f"{time.monotonic_ns()}"
    shutil.copytree(dumps[kind], work / "dump")
    files = sorted(p for p in (work / "dump").rglob("*") if p.suffix in (".jsonl", ".parquet"))
    path = files[choice % len(files)]
    data = path.read_bytes()
    kept = data[: int(cut * (len(data) - 1))]
    path.write_bytes(kept)
    try:
        report = import_run(format_of(kind), work / "dump", work / "run")
    except EntropylabError:
        assert sorted(p.name for p in work.iterdir()) == ["dump"]
        return
    at_line_end = path.suffix == ".jsonl" and (kept.endswith((b"\n", b"}")) or not kept.strip())
    assert report.n_faults > 0 or at_line_end
    assert "unreadable_file" not in {p.kind for p in el.open_run(work / "run").problems()}


def test_an_error_half_way_leaves_nothing(dumps, tmp_path, monkeypatch):
    calls = []

    def failing(recorder, step):
        calls.append(step)
        if len(calls) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(importing, "record_step", failing)
    with pytest.raises(KeyboardInterrupt):
        import_run("verl", dumps["verl"], tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


SLOW_IMPORT = """
import sys, time
from entropylab.importers import importing
record = importing.record_step
def slow(recorder, step):
    record(recorder, step); recorder.flush(); print("step", flush=True); time.sleep(60)
importing.record_step = slow
importing.import_run("verl", sys.argv[1], sys.argv[2])
"""


def test_a_killed_import_leaves_no_run_that_looks_whole(dumps, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW_IMPORT, str(dumps["verl"]), str(tmp_path / "run")],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(el.__file__).parents[1])},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"step\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not (tmp_path / "run").exists()
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".run.importing-")
    assert "interrupted" in {p.kind for p in el.open_run(left).problems()}
    import_run("verl", dumps["verl"], tmp_path / "run")
    assert list(tmp_path.iterdir()) == [tmp_path / "run"]


def test_an_import_is_the_same_every_time(dumps, tmp_path):
    import pyarrow as pa

    tables = []
    for name in ("one", "two"):
        import_run("prime-rl", dumps["prime-rl"], tmp_path / name)
        tables.append(pa.Table.from_batches(list(el.open_run(tmp_path / name).tokens())))
    assert tables[0].equals(tables[1])


def test_long_responses_are_recorded_in_pieces(dumps, tmp_path, monkeypatch):
    from entropylab.importers import recording

    import_run("prime-rl", dumps["prime-rl"], tmp_path / "whole")
    monkeypatch.setattr(recording, "PIECE_CELLS", 20)
    import_run("prime-rl", dumps["prime-rl"], tmp_path / "pieces")
    whole, pieces = (el.open_run(tmp_path / name).steps() for name in ("whole", "pieces"))
    for column in ("n_tokens", "covariance_mean", "entropy_token_mean", "top_mean_0.02"):
        assert whole[column].tolist() == pytest.approx(pieces[column].tolist(), rel=1e-12)
