"""Alerts against numbers by hand, and a recorder that tells each of them once."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from scipy import stats

import entropylab as el
from entropylab.record import step_files
from entropylab.record.alerts import decline, find_alerts, sen_slope, start_and_now

CLIP = {"control": {"name": "ClipCov", "fraction": 2e-4, "minimum": 1}}


def rows(entropy, **columns):
    return [
        {"step": i, "entropy_token_mean": h, "selected_count": 3, "nonfinite_count": 0, **columns}
        for i, h in enumerate(entropy)
    ]


def kinds(*args) -> list[str]:
    return [alert.kind for alert in find_alerts(*args)]


def test_start_now_and_half_life():
    h = 2.0 * 0.5 ** (np.arange(80) / 25)
    assert start_and_now(h) == (pytest.approx(h[:10].mean()), pytest.approx(h[-10:].mean()))
    found = decline(h, np.arange(80.0))
    assert found.half_life == pytest.approx(25)
    assert decline(h[:19], np.arange(19.0)) is None
    rng = np.random.default_rng(0)
    assert decline(np.exp(rng.normal(size=60)), np.arange(60.0)).half_life is None


@pytest.mark.parametrize("n", [20, 57, 200])
def test_the_slope_is_that_of_scipy(n):
    rng = np.random.default_rng(n)
    x, y = np.cumsum(rng.integers(1, 4, n)).astype(float), rng.normal(size=n).cumsum()
    assert sen_slope(x, y) == pytest.approx(_of_scipy(x, y))


def _of_scipy(x, y):
    found = stats.theilslopes(y, x)
    return found.slope, found.low_slope, found.high_slope


def test_a_steady_run_has_none():
    assert kinds(rows(np.full(60, 0.5)), CLIP) == []
    assert find_alerts([], CLIP) == ()


def test_collapse_and_its_forecast():
    assert kinds(rows(0.5 ** (np.arange(60) / 10)), {}) == ["entropy_collapsed"]
    h = 0.5 ** (np.arange(80) / 25)
    (alert,) = find_alerts(rows(h), {})
    assert alert.kind == "collapse_forecast"
    assert alert.step == 79
    left = np.log(h[-10:].mean() / (0.1 * h[:10].mean())) / (np.log(2) / 25)
    assert f"in about {left:.0f} steps (it halves every 25 steps)" in alert.message
    assert kinds(rows(0.5 ** (np.arange(60) / 100)), {}) == []


def test_a_rise_that_goes_on_is_told_and_one_that_has_ended_is_not():
    h = 0.3 * 2 ** (np.arange(80) / 40)
    (alert,) = find_alerts(rows(h), {})
    assert alert.kind == "entropy_rising"
    first, last = h[:10].mean(), h[-10:].mean()
    assert f"{last:.3g} nats, {last / first:.2g} times the mean of its first 10 steps" in alert.message
    assert str(alert) == f"step 79: {alert.message}"
    assert kinds(rows(np.minimum(h, h[59])), {}) == [], "level for the last 20 steps"
    assert kinds(rows(h[:30]), {}) == [], "not yet twice its start"
    assert kinds(rows(np.append(np.zeros(20), h)), {}) == [], "a start of 0 has no multiple"


def test_the_other_rules():
    h = np.full(20, 0.5)
    assert kinds(rows(h, selected_count=0), CLIP) == ["no_op_control"]
    assert kinds(rows(h, selected_count=0), {"control": {"name": "KLPenalty", "coef": 0.1}}) == []
    assert kinds(rows(h, kl_k3=0.2), CLIP) == ["off_policy"]
    assert kinds(rows(h, kl_k3=None), CLIP) == []
    assert kinds(rows(h, zero_advantage_fraction=0.9), CLIP) == ["zero_advantages"]
    assert kinds(rows(h, nonfinite_count=2), CLIP) == ["nonfinite_values"]


def step(recorder, number: int, h: float) -> None:
    rng = np.random.default_rng(number)
    inputs = {
        "logprobs": -rng.random((4, 4)),
        "advantages": rng.normal(size=4),
        "mask": np.ones((4, 4), bool),
    }
    recorder.record(number, **inputs, entropy=np.full((4, 4), h))


def steps(recorder, n: int, half_life: float = 10.0) -> None:
    for i in range(n):
        step(recorder, i, 0.5 ** (i / half_life))


def test_the_recorder_tells_each_alert_once_on_the_callers_thread(tmp_path):
    import threading

    told = []

    def on_alert(alert):
        told.append((alert, threading.current_thread()))

    with el.Recorder(tmp_path / "r", on_alert=on_alert) as recorder:
        steps(recorder, 60)
    assert [alert.kind for alert, _ in told] == ["collapse_forecast", "entropy_collapsed"]
    assert {thread for _, thread in told} == {threading.main_thread()}
    health = el.run_health(el.open_run(tmp_path / "r"))
    assert health.verdict == "collapsed"
    assert told[-1][0].kind == health.alerts[0].kind


def test_recording_that_stops_is_told(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    told = []
    monkeypatch.setattr(step_files, "write_parquet", full)
    recorder = el.Recorder(tmp_path / "r", on_error="warn", on_alert=told.append)
    with pytest.warns(RuntimeWarning, match="recording to"):
        steps(recorder, 3)
    recorder.close()
    assert [alert.kind for alert in told] == ["recording_stopped"]


def test_an_error_of_the_callback_reaches_the_training_loop(tmp_path):
    def stop(alert):
        raise StopIteration(alert.kind)

    recorder = el.Recorder(tmp_path / "r", on_alert=stop)
    with pytest.raises(StopIteration, match="collapse_forecast"):
        steps(recorder, 60)
    recorder.close()
    assert len(el.open_run(tmp_path / "r").whole_steps()) >= 20
