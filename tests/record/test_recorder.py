"""The recorder's own contract: order of calls, bad input, write errors, threads, imports."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import entropylab as el
from entropylab.errors import InvalidInputError, MissingInputError, RecorderError


@pytest.fixture
def recorder(tmp_path):
    with el.Recorder(tmp_path / "r") as recorder:
        yield recorder


def steps(recorder) -> list[int]:
    return el.open_run(recorder.path).steps()["step"].tolist()


def test_when_end_step_returns_the_steps_before_are_durable(recorder, batch):
    for step in range(20):
        recorder.record(step, **batch(step))
        recorder.end_step(step)
        assert set(range(step)) <= set(steps(recorder))


def test_the_next_steps_first_record_ends_the_step_and_flush_waits(recorder, batch):
    recorder.record(0, **batch(0))
    assert steps(recorder) == []
    recorder.record(3, **batch(1))
    recorder.end_step(3)
    recorder.end_step(3)  # again: nothing to do
    recorder.flush()
    assert steps(recorder) == [0, 3]
    recorder.record(4, **batch(2))
    recorder.flush()
    assert steps(recorder) == [0, 3, 4]


def test_calls_out_of_order(recorder, batch):
    with pytest.raises(RecorderError, match=r"end_step\(0\): no step is under way"):
        recorder.end_step(0)
    recorder.record(5, **batch(0))
    with pytest.raises(RecorderError, match=r"called twice.*update=.*micro_step="):
        recorder.record(5, **batch(0))
    recorder.record(5, **batch(1, update=1))
    with pytest.raises(RecorderError, match=r"step=4.*after step 5"):
        recorder.record(4, **batch(0))
    with pytest.raises(RecorderError, match=r"end_step\(6\): step 5 is under way"):
        recorder.end_step(6)
    recorder.end_step(5)
    with pytest.raises(RecorderError, match=r"step=5.*after step 5"):
        recorder.record(5, **batch(0, update=2))


def test_a_closed_recorder_says_so(tmp_path, batch):
    recorder = el.Recorder(tmp_path / "r")
    recorder.close()
    recorder.close()
    for call in (
        lambda: recorder.record(0, **batch(0)),
        lambda: recorder.end_step(0),
        lambda: recorder.evaluate(0, value=1, n=1),
        recorder.flush,
    ):
        with pytest.raises(RecorderError, match="closed; open a new Recorder"):
            call()


NAN = float("nan")

BAD = {
    "logprobs of one dimension": ({"logprobs": np.zeros(3)}, r"logprobs must have shape \[B, T\], got \[3\]"),
    "mask of another shape": (
        {"mask": np.ones((12, 8))},
        r"mask must have shape \[B, T\] = \[12, 9\], got \[12, 8\]",
    ),
    "mask with a fraction": (
        {"mask": np.full((12, 9), 0.5)},
        r"mask must be bool or 0/1, found the value .*0\.5",
    ),
    "mask with NaN": ({"mask": np.full((12, 9), NAN)}, "mask must be bool or 0/1, found the value .*nan"),
    "advantages": ({"advantages": np.zeros(9)}, r"advantages must have shape .*\[12, 9\] or \[B\] = \[12\]"),
    "old_logprobs": ({"old_logprobs": np.zeros(12)}, "old_logprobs must have shape"),
    "entropy": ({"entropy": np.zeros((9, 12))}, "entropy must have shape"),
    "rewards": ({"rewards": np.zeros(11)}, "rewards must have shape"),
    "ids that are no integers": (
        {"sample_ids": np.arange(12.0)},
        "sample_ids must hold integers, got dtype float64",
    ),
    "ids of another length": ({"prompt_ids": np.arange(5)}, r"prompt_ids must have shape \[B\] = \[12\]"),
    "large token ids": ({"token_ids": np.full((12, 9), 2**40)}, "token_ids must fit int32"),
    "texts": ({"texts": ["a"]}, "texts must be a list of B = 12 strings"),
    "text that is none": ({"texts": [None] * 12}, "texts must hold strings, got NoneType"),
    "strings": ({"logprobs": np.full((12, 9), "x")}, "logprobs must hold numbers"),
    "ragged": ({"advantages": [[1.0], [1.0, 2.0]]}, "advantages is not a rectangular array"),
    "complex": ({"entropy": np.zeros((12, 9), complex)}, "entropy must hold numbers"),
    "metric": ({"metrics": {"loss": np.zeros(3)}}, r"metrics\['loss'\] must be one number, got shape \[3\]"),
    "metric text": ({"metrics": {"loss": "low"}}, r"metrics\['loss'\] must hold numbers"),
    "update": ({"update": -1}, "update must be a whole number from 0"),
    "micro_step": ({"micro_step": 0.5}, "micro_step must be a whole number"),
    "rollout": ({"rollout": "first"}, "rollout must be a whole number"),
    "out": ({"out": 3.0}, "out must be the result of policy_loss or None, got float"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_named_and_leaves_the_recorder_usable(recorder, batch, name):
    change, message = BAD[name]
    recorder.record(0, **batch(0))
    with pytest.raises(InvalidInputError, match=message):
        recorder.record(1, **batch(1, **change))
    recorder.record(0, **batch(1, update=1))  # the step under way was not ended
    recorder.flush()
    assert steps(recorder) == [0]


@pytest.mark.parametrize("step", [-1, 0.5, "1", True, None, 2**31])
def test_bad_steps(recorder, batch, step):
    with pytest.raises(InvalidInputError, match="step must be a whole number"):
        recorder.record(step, **batch(0))


def test_a_loss_without_covariance(recorder, batch):
    with pytest.raises(MissingInputError, match=r"'covariance'.*'selected'"):
        recorder.record(0, **batch(0, out=SimpleNamespace(tokens={"selected": np.zeros((12, 9))})))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": NAN}, "value of validation/accuracy at step 1 must be finite, got nan"),
        ({"n": 0}, "n must be a whole number from 1"),
        ({"metric": ""}, "metric must be a string of 1 to 60 characters"),
        ({"split": 3}, "split must be a string"),
    ],
)
def test_bad_evaluations(recorder, change, message):
    with pytest.raises(InvalidInputError, match=message):
        recorder.evaluate(1, **{"value": 0.5, "n": 3, **change})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"config": {"a": {"b": [1, object()]}}}, r"config\['a'\]\['b'\]\[1\] is a object"),
        ({"config": {"lr": NAN}}, r"config\['lr'\] is nan, which strict JSON cannot hold"),
        ({"config": {1: 2}}, "config has the key 1; JSON keys must be strings"),
        ({"config": {"f": print}}, r"config\['f'\] is a builtin_function_or_method"),
        ({"world_size": 0}, "world_size must be a whole number from 1"),
        ({"rank": 2, "world_size": 2}, "rank must be a whole number from 0 to 1, got 2"),
    ],
)
def test_bad_settings_make_no_folder(tmp_path, settings, message):
    with pytest.raises(InvalidInputError, match=message):
        el.Recorder(tmp_path / "r", **settings)
    assert not (tmp_path / "r").exists()


def test_a_write_error_surfaces_at_the_next_call_and_at_close(tmp_path, batch):
    threads = threading.active_count()
    recorder = el.Recorder(tmp_path / "r")
    recorder.record(0, **batch(0))
    recorder.flush()
    (tmp_path / "r/tokens/step-000001").write_text("a file where the folder should be")
    recorder.record(1, **batch(1))
    recorder.end_step(1)
    with pytest.raises(RecorderError, match=r"could not write.*step-000001.*open a new Recorder"):
        recorder.flush()
    with pytest.raises(RecorderError, match="could not write"):
        recorder.record(2, **batch(2))
    with pytest.raises(RecorderError, match="could not write"):
        recorder.evaluate(2, value=0.1, n=1)
    with pytest.raises(RecorderError, match="could not write") as caught:
        recorder.close()
    assert isinstance(caught.value.__cause__, OSError)
    recorder.close()
    assert steps(recorder) == [0]
    assert threading.active_count() == threads


def test_no_thread_is_left_after_close(tmp_path, batch):
    before = threading.active_count()
    for i in range(3):
        with el.Recorder(tmp_path / str(i)) as recorder:
            assert threading.active_count() == before + 1
            recorder.record(0, **batch(0))
    assert threading.active_count() == before


def test_a_file_in_the_way_of_the_folder(tmp_path):
    (tmp_path / "r").write_text("x")
    with pytest.raises(RecorderError, match="cannot write a run to"):
        el.Recorder(tmp_path / "r")


@pytest.mark.parametrize(
    "statement",
    ["import entropylab.record.recorder", "import entropylab.record.reader, entropylab.record.compaction"],
)
def test_torch_is_never_imported(tmp_path, statement):
    code = f"""
import sys, numpy as np
{statement}
import entropylab as el
with el.Recorder({str(tmp_path / "r")!r}) as recorder:
    recorder.record(0, logprobs=-np.ones((2, 3)), advantages=np.ones(2), mask=np.ones((2, 3)))
run = el.open_run({str(tmp_path / "r")!r})
assert len(run.steps()) == 1 and "torch" not in run.info["software"]
heavy = {{"torch", "scipy", "statsmodels", "matplotlib", "streamlit"}} & set(sys.modules)
print(sorted(heavy))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout.strip() == "[]"


def test_the_torch_version_is_noted_where_torch_is_in_use(tmp_path):
    torch = pytest.importorskip("torch")
    el.Recorder(tmp_path / "r").close()
    assert el.open_run(tmp_path / "r").info["software"]["torch"] == torch.__version__


def test_the_working_directory_and_home_are_understood(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    el.Recorder("relative").close()
    el.Recorder("~/home").close()
    assert [run.name for run in el.open_runs(".")] == ["home", "relative"]
    assert os.path.isdir(tmp_path / "home")
