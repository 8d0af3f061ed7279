from __future__ import annotations

import numpy as np

from entropylab.analysis.curve import fit_curve
from entropylab.analysis.curve_entropy import entropy_trend
from entropylab.analysis.curve_points import check_points

A, B, M = 0.211, 0.598, 36


def draw(rng, *, jitter, measurement, noise):
    """Entropy as read and performance; jitter moves the policy's entropy, measurement only its reading."""
    entropy = 0.05 + 0.5 * np.exp(-np.arange(M) / 20) + jitter * rng.normal(size=M)
    performance = B - A * np.exp(entropy) + noise * rng.normal(size=M)
    return entropy + measurement * rng.normal(size=M), performance


def test_measurement_noise_is_smoothed_away():
    rng = np.random.default_rng(0)
    slopes = {"grid": [], "ols": []}
    for _ in range(40):
        entropy, performance = draw(rng, jitter=0.0, measurement=0.05, noise=0.003)
        assert entropy_trend(check_points(entropy, performance)) is not None
        for method, found in slopes.items():
            fit = fit_curve(entropy, performance, method=method)
            found += [fit.a] if fit.withheld is None else []
    assert np.mean(slopes["ols"]) < 0.9 * A
    assert abs(np.mean(slopes["grid"]) / A - 1) < 0.05
    assert len(slopes["grid"]) >= 15


def test_real_jitter_is_kept():
    rng = np.random.default_rng(1)
    for _ in range(20):
        entropy, performance = draw(rng, jitter=0.08, measurement=0.0, noise=0.002)
        assert entropy_trend(check_points(entropy, performance)) is None


def test_jitter_of_the_size_of_the_noise_is_smoothed():
    rng = np.random.default_rng(2)
    drawn = (draw(rng, jitter=0.02, measurement=0.0, noise=0.01) for _ in range(20))
    assert all(entropy_trend(check_points(*pair)) is not None for pair in drawn)
