"""Bad input: a plain sentence in place, never a traceback, never a made-up number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

import entropylab as el

from .conftest import VIEWS

READING_ROWS = ("overview", "law", "tails", "selection", "tokens")


def see(open_app, root: Path, views: tuple[str, ...] = READING_ROWS) -> dict[str, list[str]]:
    """The sentences of each page, none of which raises."""
    page, said = open_app(root, view=views[0]), {}
    for view in views:
        if view != views[0]:
            page.go(view)
        assert page.exceptions == [], view
        assert "nan" not in page.html.lower().replace("nano", ""), view
        said[view] = page.sentences
    return said


def test_an_empty_folder_says_how_to_make_runs(open_app, tmp_path) -> None:
    page = open_app(tmp_path)
    assert "holds no run" in page.sentences[0]
    assert "entropylab demo" in page.test.markdown[0].value
    assert page.exceptions == []


def test_a_folder_that_does_not_exist_is_named(open_app, tmp_path, runs) -> None:
    page = open_app(tmp_path / "gone", runs)
    assert "gone does not exist" in page.sentences[0]
    assert page.charts == 6


def test_a_place_that_is_no_local_folder_is_named(open_app) -> None:
    page = open_app("s3://bucket")
    assert page.exceptions == []
    assert page.sentences


def test_a_foreign_run_file_hides_no_other_run(open_app, make_run, tmp_path) -> None:
    make_run(tmp_path / "good", steps=3)
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "_run.json").write_text('{"project": "something else"}')
    page = open_app(tmp_path)
    assert "foreign" in page.sentences[0]
    assert len(page.test.checkbox) == 1
    assert page.exceptions == []


def test_a_run_without_evaluations_has_no_law_but_the_rest(open_app, make_run, tmp_path) -> None:
    make_run(tmp_path / "run", steps=4)
    shutil.rmtree(tmp_path / "run" / "evaluations")
    said = see(open_app, tmp_path)
    assert "no evaluations" in said["law"][0]
    assert said["tails"] == said["selection"] == []


def test_a_run_of_one_step_is_shown_as_far_as_it_goes(open_app, make_run, tmp_path) -> None:
    make_run(tmp_path / "run", steps=1)
    said = see(open_app, tmp_path)
    assert said["law"]
    assert said["tails"] == said["selection"] == []


def test_a_run_without_a_step_is_shown_as_empty(open_app, tmp_path) -> None:
    el.Recorder(tmp_path / "run", method="baseline").close()
    said = see(open_app, tmp_path, VIEWS)
    assert [view for view in VIEWS if not said[view]] == ["influence", "data"]
    assert "holds no influence" in open_app(tmp_path, view="influence").html
    assert "0 whole steps" in open_app(tmp_path, view="data").html


def record(path: Path, spoil: dict[str, float], steps: int = 3) -> None:
    """A run whose inputs hold one bad value each."""
    rng = np.random.default_rng(0)
    with el.Recorder(path, method="baseline") as recorder:
        for step in range(steps):
            shape = (8, 5)
            inputs = {
                "logprobs": -rng.exponential(size=shape),
                "advantages": np.repeat(rng.normal(size=(8, 1)), 5, axis=1),
                "entropy": rng.exponential(size=shape),
            }
            for name, value in spoil.items():
                inputs[name][0, 0] = value
            recorder.record(step, mask=np.ones(shape, bool), prompt_ids=np.arange(8) // 2, **inputs)
            recorder.evaluate(step, metric="accuracy", value=0.1 * step, n=10)


@pytest.mark.quick("spoil0")
@pytest.mark.parametrize(
    "spoil", [{"entropy": np.nan, "logprobs": -np.inf}, {"logprobs": np.nan, "advantages": np.inf}]
)
def test_values_that_are_not_finite_are_reported(open_app, tmp_path, spoil) -> None:
    record(tmp_path / "run", spoil)
    see(open_app, tmp_path, VIEWS)
    page = open_app(tmp_path)
    assert "problems in the files of run" in page.html
    assert "NaN or infinite" in page.test.dataframe[-1].value.iloc[0, -1]


def test_a_truncated_token_file_is_named(open_app, make_run, tmp_path) -> None:
    make_run(tmp_path / "run", steps=3)
    file = next((tmp_path / "run" / "tokens").rglob("*.parquet"))
    file.write_bytes(file.read_bytes()[:-40])
    said = see(open_app, tmp_path)
    assert file.name in said["tails"][0]
    assert file.name in said["selection"][0]
    assert said["law"] == said["overview"] == []


def test_a_truncated_marker_is_left_out_and_named(open_app, make_run, tmp_path) -> None:
    make_run(tmp_path / "run", steps=3)
    marker = tmp_path / "run" / "markers" / "step-000001" / "rank-0000-a1.json"
    marker.write_text(marker.read_text()[:50])
    see(open_app, tmp_path)
    page = open_app(tmp_path)
    assert "2 steps" in page.test.checkbox[0].label
    assert "▲" in page.test.checkbox[0].label


def test_a_newer_format_is_refused_by_name(open_app, make_run, tmp_path) -> None:
    make_run(tmp_path / "run", steps=1)
    file = tmp_path / "run" / "_run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"entropylab_format": 99}))
    page = open_app(tmp_path)
    assert "format 99" in page.sentences[0]
    assert page.exceptions == []
