"""How a run stands, against numbers by hand."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest

import entropylab as el
from entropylab.analysis.health import health_of
from entropylab.errors import InsufficientDataError


def steps(entropy) -> pd.DataFrame:
    n = len(entropy)
    frame = pd.DataFrame({"step": np.arange(n), "entropy_token_mean": entropy, "n_tokens": 100})
    return frame.assign(selected_count=2, kl_k3=np.nan, zero_advantage_fraction=0.25, nonfinite_count=0)


def health(entropy):
    return health_of(steps(entropy), name="r", method="baseline", config={})


def test_shares_by_hand():
    found = health(np.linspace(1.0, 0.5, 41))
    start, now = 1.0 - 4.5 * 0.0125, 0.5 + 4.5 * 0.0125
    assert found.entropy_left == pytest.approx(now / start)
    used = (np.exp(start) - np.exp(now)) / (np.exp(start) - 1)
    assert found.gain_used == pytest.approx(used)
    assert found.selected_fraction == pytest.approx(0.02)
    assert found.zero_advantage_fraction == 0.25
    assert found.verdict == "falling"
    assert f"{100 * used:.3g} % of the gain that the law allows is used" in found.summary()


def test_what_is_not_known_is_none():
    found = health(np.full(30, np.nan))
    assert (found.entropy_now, found.entropy_left, found.gain_used, found.decline) == (None,) * 4
    assert found.verdict == "unknown"
    assert "no entropy recorded" in found.summary()
    risen = health(np.linspace(0.5, 1.0, 30))
    assert risen.gain_used is None
    assert risen.verdict == "rising"
    assert "not shown to fall now" in risen.summary()
    assert health(np.full(30, 0.5)).verdict == "steady"
    json.dumps(found.to_dict(), allow_nan=False)


def test_no_step_is_an_error():
    with pytest.raises(InsufficientDataError, match="no whole step"):
        health(np.array([]))


def test_of_a_run(make_run, tmp_path):
    run = make_run(tmp_path / "r", steps=5)
    found = el.run_health(run)
    assert found.n_steps == 5
    assert found.entropy_now == pytest.approx(run.steps()["entropy_token_mean"].mean())
