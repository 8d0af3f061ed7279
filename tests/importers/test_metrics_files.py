"""Step-level logs by the real writers: every number that was logged comes back, whatever the file."""

from __future__ import annotations

import csv
import json
import math
import shutil

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings, strategies as st
from make_fixtures import STEPS, law

from entropylab.errors import EntropylabError, InvalidInputError, RunNotFoundError
from entropylab.importers.law_rows import law_rows
from entropylab.importers.metrics_files import is_metrics_path, read_metrics
from entropylab.importers.tensorboard_events import masked_crc, parse_event


def points(path, run=None, **columns):
    logs = read_metrics(path)
    log = logs[run] if run else next(iter(logs.values()))
    names = {"entropy": None, "performance": None, "step": None} | columns
    return law_rows(log, *names.values(), str(path))


def check_law(found, steps, rtol=1e-6):
    assert found.frame["step"].tolist() == list(steps)
    np.testing.assert_allclose(found.frame["entropy"], [law(int(s))[0] for s in steps], rtol=rtol)
    np.testing.assert_allclose(found.frame["performance"], [law(int(s))[1] for s in steps], rtol=rtol)


def test_tensorboard_of_torch(fixtures):
    found = points(fixtures / "tensorboard" / "torch")
    check_law(found, range(0, STEPS, 3))
    assert (found.columns.trainer, found.problems) == ("verl", ())
    log = next(iter(read_metrics(fixtures / "tensorboard" / "torch").values()))
    assert {"actor/entropy", "val-core/x/acc/mean@8", "actor/kl"} <= set(log.names)
    assert math.isnan(next(row["actor/kl"] for row in log.rows if "actor/kl" in row))


def test_tensorboard_x(fixtures):
    check_law(points(fixtures / "tensorboard" / "tensorboardX"), range(STEPS))


def test_tensorboard_of_a_trl_run(fixtures):
    found = points(fixtures / "trl" / "runs")
    history = json.loads((fixtures / "trl" / "trainer_state.json").read_text())["log_history"]
    wanted = {row["step"]: row["eval_reward"] for row in history if "eval_reward" in row}
    assert (found.columns.entropy, found.columns.performance) == ("train/entropy", "eval/reward")
    assert dict(zip(found.frame["step"], found.frame["performance"], strict=True)) == pytest.approx(wanted)


def test_tensorboard_written_now(tmp_path):
    writers = pytest.importorskip("torch.utils.tensorboard")
    writer = writers.SummaryWriter(tmp_path / "run")
    for step in range(STEPS):
        writer.add_scalar("entropy", law(step)[0], step, new_style=True)
        writer.add_scalar("eval_reward", law(step)[1], step)
    writer.close()
    check_law(points(tmp_path / "run"), range(STEPS))


def test_crc_of_the_standard():
    """RFC 3720, B.4: CRC-32C of 32 zero bytes is 8A9136AA."""
    crc = 0x8A9136AA
    assert masked_crc(bytes(32)) == (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def test_several_event_folders_are_several_runs(fixtures):
    with pytest.raises(InvalidInputError, match="several runs; name one: tensorboardX, torch"):
        read_metrics(fixtures / "tensorboard")


def test_a_flipped_bit_in_an_event_file_is_named(fixtures, tmp_path):
    source = next((fixtures / "tensorboard" / "tensorboardX").iterdir())
    data = bytearray(source.read_bytes())
    data[len(data) // 2] ^= 4
    (tmp_path / source.name).write_bytes(data)
    (log,) = read_metrics(tmp_path / source.name).values()
    assert len(log.problems) == 1
    assert "damaged" in log.problems[0]


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 2292))
def test_a_torn_event_file_gives_its_whole_records(fixtures, tmp_path_factory, cut):
    source = next((fixtures / "tensorboard" / "tensorboardX").iterdir())
    data = source.read_bytes()
    torn = tmp_path_factory.mktemp("torn") / source.name
    torn.write_bytes(data[:cut])
    (whole,), (log,) = read_metrics(source).values(), read_metrics(torn).values()
    assert log.rows == whole.rows[: len(log.rows)]
    assert len(log.problems) == (not _at_record_end(data, cut))


def _at_record_end(data: bytes, cut: int) -> bool:
    at = 0
    while at < cut:
        at += 16 + int.from_bytes(data[at : at + 8], "little")
    return at == cut


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_an_event_or_an_error(data):
    try:
        parse_event(data)
    except (ValueError, IndexError):
        return


def test_trackio(fixtures):
    path = fixtures / "trackio" / "law.db"
    assert list(read_metrics(path)) == ["baseline", "clip-cov"]
    for name in ("baseline", "clip-cov"):
        check_law(points(path, name), range(0, STEPS, 3), rtol=1e-12)
    losses = [row["loss"] for row in read_metrics(path)["baseline"].rows if "loss" in row]
    assert math.isnan(losses[1])


def test_trackio_written_now(tmp_path, monkeypatch):
    pytest.importorskip("trackio")
    import subprocess
    import sys

    code = (
        "import trackio; trackio.init(project='p', name='r', embed=False)\n"
        "for s in range(5): trackio.log({'entropy': 1 - s / 10, 'eval_reward': s / 10}, step=s)\n"
        "trackio.finish()"
    )
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path))
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    found = points(tmp_path / "p.db")
    assert found.frame["performance"].tolist() == [0.0, 0.1, 0.2, 0.3, 0.4]


def test_verl_file_logger_and_console_say_the_same(fixtures):
    by_file, by_console = (points(fixtures / "verl" / name) for name in ("file_logger.jsonl", "console.log"))
    for found in (by_file, by_console):
        check_law(found, range(4, STEPS + 1, 4), rtol=1e-15)
        assert found.problems == (
            "1 of 24 values of 'actor/entropy' are NaN or infinite, and left out (steps 7)",
        )
        assert "(steps 0)" in found.notes[0]
    assert by_file.frame.equals(by_console.frame)


def test_trl_trainer_state(fixtures):
    path = fixtures / "trl" / "trainer_state.json"
    found = points(path)
    history = json.loads(path.read_text())["log_history"]
    assert found.columns.trainer == "TRL"
    assert found.frame["entropy"].tolist() == [
        row["entropy"] for row in history if "entropy" in row and row["step"] % 2 == 0
    ]
    assert found.frame["performance"].tolist() == [
        row["eval_reward"] for row in history if "eval_reward" in row
    ]


def rows_of_law():
    for step in range(STEPS):
        entropy, score = law(step)
        yield {"_step": step, "actor/entropy": entropy}
        if step % 3 == 0:
            yield {"_step": step, "val-core/x/acc/mean@8": score}


def test_wandb_history_as_csv_jsonl_json_and_parquet(tmp_path):
    """The columns of `wandb.Api().run(...).history()`: _step, _runtime, _timestamp and the metrics."""
    frame = pd.DataFrame([{**row, "_runtime": 1.5, "_timestamp": 1e9} for row in rows_of_law()])
    frame.to_csv(tmp_path / "history.csv", index=False)
    frame.to_json(tmp_path / "history.jsonl", orient="records", lines=True, double_precision=15)
    frame.to_json(tmp_path / "history.json", orient="records", double_precision=15)
    frame.to_parquet(tmp_path / "history.parquet")
    for path in sorted(tmp_path.iterdir()):
        check_law(points(path), range(0, STEPS, 3), rtol=1e-14)
    shutil.copy(tmp_path / "history.parquet", tmp_path / "without_ending")
    check_law(points(tmp_path / "without_ending"), range(0, STEPS, 3), rtol=1e-14)


def test_a_panel_export_of_wandb_has_the_runs_name_in_its_columns(tmp_path):
    path = tmp_path / "panel.csv"
    with open(path, "w", newline="") as file:
        table = csv.writer(file, quoting=csv.QUOTE_ALL)
        names = ["actor/entropy", "val-core/x/acc/mean@8"]
        table.writerow(["Step", *(f"run-7 - {n}{end}" for n in names for end in ("", "__MIN", "__MAX"))])
        for step in range(STEPS):
            entropy, score = law(step)
            table.writerow([step, *[entropy] * 3, *[score] * 3])
    check_law(points(path), range(STEPS), rtol=1e-15)
    named = points(path, entropy="actor/entropy", performance="val-core/x/acc/mean@8")
    assert named.columns.entropy == "run-7 - actor/entropy"


def test_nan_and_null_of_parquet_are_not_the_same(tmp_path):
    table = pa.table({"step": [1, 2, 3, 4], "H": [1.0, float("nan"), None, 0.5], "R": [0.1, 0.2, 0.3, 0.4]})
    pq.write_table(table, tmp_path / "x.parquet")
    found = points(tmp_path / "x.parquet", entropy="H", performance="R")
    assert found.problems == ("1 of 3 values of 'H' are NaN or infinite, and left out (steps 2)",)
    assert found.frame["step"].tolist() == [1, 3, 4]


@pytest.mark.parametrize("text", ["nan", "NaN", "inf", "-Infinity", "1e999"])
def test_csv_values_that_are_not_finite_are_reported(tmp_path, text):
    path = tmp_path / "x.csv"
    path.write_text(f"step,H,R\n1,.5,.1\n2,{text},.2\n3,.4,.3\n4,,.35\n5,.3,.4\n")
    found = points(path, entropy="H", performance="R")
    assert found.frame["step"].tolist() == [1, 3, 4, 5]
    assert "1 of 4 values of 'H' are NaN or infinite, and left out (steps 2)" in found.problems


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b""),
        ("x.csv", b"\xff\xfe\x00"),
        ("x.json", b"nothing"),
        ("x.json", b'"text"'),
        ("x.parquet", b"PAR1"),
        ("x.db", b"SQLite format 3\x00 and no more"),
        ("x.db", b""),
        ("x.bin", b"\x00\x01"),
    ],
)
def test_files_that_do_not_read_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidInputError, match=name):
        read_metrics(tmp_path / name)


@pytest.mark.parametrize("name", ["x.jsonl", "x.log", "x.csv", "events.out.tfevents.1"])
def test_files_without_a_row_are_named(tmp_path, name):
    (tmp_path / name).write_bytes(b"step,H,R\n" if name == "x.csv" else b"")
    with pytest.raises(EntropylabError, match=f"{name} holds no row"):
        points(tmp_path / name)


def test_broken_lines_are_problems_with_their_number(tmp_path):
    (tmp_path / "x.jsonl").write_text('{"step":1,"H":.5}\n'.replace(":.5", ":0.5") + '{"step": 2,\n[1]\n')
    (tmp_path / "x.csv").write_text("step,H,R\n1,.5,.1\n2,.4\n3,.3,.2,.9\n")
    by_file = {p.name: next(iter(read_metrics(p).values())).problems for p in tmp_path.iterdir()}
    assert [text.split(":")[0].rsplit(", ", 1)[1] for text in by_file["x.jsonl"]] == ["line 2", "line 3"]
    assert [text.split(":")[0].rsplit(", ", 1)[1] for text in by_file["x.csv"]] == ["line 3", "line 4"]


@settings(max_examples=60, deadline=None)
@given(name=st.sampled_from(["file_logger.jsonl", "console.log", "law.db"]), cut=st.floats(0, 1))
def test_a_truncated_log_gives_true_points_or_a_named_error(fixtures, tmp_path_factory, name, cut):
    source = fixtures / ("trackio" if name == "law.db" else "verl") / name
    data = source.read_bytes()
    torn = tmp_path_factory.mktemp("torn") / name
    torn.write_bytes(data[: int(cut * len(data))])
    try:
        found = points(torn)
    except EntropylabError:
        return
    for step, entropy, score in found.frame.itertuples(index=False):
        if name == "console.log" and step == found.frame["step"].max():
            continue  # a cut number of the last line cannot be told from a whole one
        assert (entropy, score) == pytest.approx(law(int(step)))


def test_what_is_a_metrics_path(fixtures, tmp_path):
    (tmp_path / "run.csv").mkdir()
    assert not is_metrics_path(tmp_path / "run.csv")
    assert not is_metrics_path(tmp_path / "absent")
    assert is_metrics_path("absent.csv")
    assert is_metrics_path(fixtures / "tensorboard" / "torch")
    with pytest.raises(RunNotFoundError, match="No file at"):
        read_metrics("absent.csv")
