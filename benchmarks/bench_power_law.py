"""The exact scan for xmin beside ``powerlaw`` at 10,000 values, and alone at 1e5 and 1e6; CPU time."""

from __future__ import annotations

import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
from measure import keep

import entropylab as el


def sample(n: int, seed: int = 0) -> np.ndarray:
    """Half a body below 1.2, half a power law of exponent 2.5."""
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(0.01, 1.2, n // 2), rng.pareto(1.5, n - n // 2) + 1.0])


def seconds(call: Callable[[], object], rounds: int) -> float:
    """Median CPU seconds."""
    times = []
    for _ in range(rounds):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return statistics.median(times)


def main() -> None:
    warnings.simplefilter("ignore")
    import powerlaw

    x = sample(10_000)
    peer = powerlaw.Fit(x, verbose=0)
    ours = el.fit_power_law(x)
    figures: dict[str, object] = {
        "xmin_of_both": [float(peer.xmin), ours.xmin],
        "alpha_of_both": [round(float(peer.alpha), 6), round(ours.alpha, 6)],
    }
    theirs = seconds(lambda: powerlaw.Fit(x, verbose=0).xmin, 3)
    own = seconds(lambda: el.fit_power_law(x), 15)
    figures |= {"powerlaw_1e4_s": round(theirs, 3), "own_1e4_s": round(own, 5)}
    figures["times_faster_1e4"] = round(theirs / own, 1)
    for n in (100_000, 1_000_000):
        data = sample(n)
        figures[f"own_{n:.0e}_s"] = round(seconds(lambda d=data: el.fit_power_law(d), 5), 4)
    data = sample(1_000_000)
    fit = el.fit_power_law(data)
    names = ("exponential", "weibull", "lognormal", "truncated_power_law")
    figures["four_ratios_1e6_s"] = round(seconds(lambda: [fit.compare(n) for n in names], 3), 3)
    keep("power_law", figures)


if __name__ == "__main__":
    main()
