from __future__ import annotations

import pytest

from entropylab.cli.metrics_file import is_metrics_file, read_points
from entropylab.errors import InsufficientDataError, InvalidInputError, MissingInputError, UnknownNameError


def test_csv_with_a_step_column(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("step,H,acc\n2,0.3,0.2\n1,0.4,0.1\n3,,0.5\n")
    points = read_points(str(path), "H", "acc")
    assert points["step"].tolist() == [1, 2]
    assert points["entropy"].tolist() == [0.4, 0.3]


def test_json_lines_where_the_two_are_on_different_lines(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"step": 1, "H": 0.4}\n\n{"step": 1, "acc": 0.1}\n{"step": 2, "H": 0.3, "acc": 0.2}\n')
    points = read_points(str(path), "H", "acc")
    assert points[["entropy", "performance"]].to_numpy().tolist() == [[0.4, 0.1], [0.3, 0.2]]


def test_without_steps_the_order_counts(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text("H,acc\n0.4,0.1\n0.3,0.2\n")
    assert list(read_points(str(path), "H", "acc").columns) == ["entropy", "performance"]


@pytest.mark.parametrize(
    ("text", "entropy", "performance", "error", "words"),
    [
        ("step,H,acc\n1,.4,.1\n", None, "acc", MissingInputError, "--entropy COL"),
        ("step,H,acc\n1,.4,.1\n", "entropy", "acc", UnknownNameError, "step, H, acc"),
        ("step,H,acc\n1,high,.1\n", "H", "acc", InvalidInputError, "no number"),
        ("step,H,acc\n1,.4,\n2,,.3\n", "H", "acc", InsufficientDataError, "both"),
        ("", "H", "acc", InvalidInputError, "does not read"),
    ],
)
def test_wrong_files_and_columns_are_named(tmp_path, text, entropy, performance, error, words):
    path = tmp_path / "log.csv"
    path.write_text(text)
    with pytest.raises(error, match=words):
        read_points(str(path), entropy, performance)


def test_a_broken_line_is_named(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"H": 0.4, "acc": 0.1}\n{"H": 0.4,\n')
    with pytest.raises(InvalidInputError, match="line 2"):
        read_points(str(path), "H", "acc")


def test_folders_are_no_metrics_files(tmp_path):
    (tmp_path / "run.csv").mkdir()
    assert not is_metrics_file(str(tmp_path / "run.csv"))
    assert is_metrics_file("x/log.csv")
