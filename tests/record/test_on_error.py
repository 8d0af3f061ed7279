"""What the writer meets surfaces in the training process, or is told once and training goes on."""

from __future__ import annotations

import threading
import warnings

import pytest

import entropylab as el
from entropylab.errors import EntropylabError, InvalidInputError, RecorderError
from entropylab.record import writer


@pytest.fixture
def full_disk(monkeypatch):
    """The disk is full from the moment the returned function is called."""

    def fill() -> None:
        def refuses(*_):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(writer.os, "replace", refuses)

    return fill


def test_raise_is_the_default_and_every_later_call_raises(tmp_path, batch, full_disk):
    recorder = el.Recorder(tmp_path / "r")
    recorder.record(0, **batch(0))
    recorder.flush()
    full_disk()
    recorder.record(1, **batch(1))
    recorder.end_step(1)
    for call in (recorder.flush, lambda: recorder.record(2, **batch(2)), recorder.close):
        with pytest.raises(RecorderError, match="No space left on device"):
            call()
    assert not recorder.stopped
    assert el.open_run(tmp_path / "r").whole_steps() == [0]


def test_warn_tells_once_and_lets_training_go_on(tmp_path, batch, full_disk):
    threads = threading.active_count()
    with el.Recorder(tmp_path / "r", on_error="warn") as recorder:
        recorder.record(0, **batch(0))
        recorder.flush()
        full_disk()
        recorder.record(1, **batch(1))
        recorder.end_step(1)
        with pytest.warns(RuntimeWarning, match=r"has stopped, training goes on: .*No space left") as told:
            recorder.flush()
        assert len(told) == 1
        assert told[0].filename == __file__
        assert recorder.stopped
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for step in (2, 3):
                recorder.record(step, **batch(step))
                recorder.end_step(step)
                recorder.evaluate(step, value=0.5, n=3)
            recorder.flush()
            recorder.close()
    assert threading.active_count() == threads
    run = el.open_run(tmp_path / "r")
    assert run.whole_steps() == [0]
    assert recorder._staging.held < 2 * 2**20


def test_warn_at_close(tmp_path, batch, full_disk):
    recorder = el.Recorder(tmp_path / "r", on_error="warn")
    recorder.record(0, **batch(0))
    full_disk()
    with pytest.warns(RuntimeWarning, match="has stopped"):
        recorder.close()
    recorder.close()


def test_wrong_arguments_raise_in_either_case(tmp_path, batch):
    with el.Recorder(tmp_path / "r", on_error="warn") as recorder:
        with pytest.raises(InvalidInputError, match="entropy must have shape"):
            recorder.record(0, **batch(0, entropy=[[1.0]]))
        recorder.record(0, **batch(0))
        with pytest.raises(RecorderError, match="called twice"):
            recorder.record(0, **batch(0))
    assert el.open_run(tmp_path / "r").whole_steps() == [0]


def test_a_folder_that_cannot_be_written_raises_at_the_start(tmp_path):
    (tmp_path / "r").write_text("a file")
    with pytest.raises(RecorderError, match="cannot write a run to"):
        el.Recorder(tmp_path / "r", on_error="warn")


def test_an_unknown_choice(tmp_path):
    with pytest.raises(EntropylabError, match="on_error must be 'raise' or 'warn', got 'ignore'"):
        el.Recorder(tmp_path / "r", on_error="ignore")


def test_texts_are_stored_only_where_given(tmp_path, batch):
    with el.Recorder(tmp_path / "r") as recorder:
        recorder.record(0, **batch(0, texts=None))
        recorder.record(1, **batch(1))
    found = [b["text"].null_count for b in el.open_run(tmp_path / "r").responses()]
    assert found == [12, 0]
