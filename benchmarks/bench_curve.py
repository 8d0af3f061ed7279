"""Time of the default interval of the law beside plain least squares on the same points."""

from __future__ import annotations

import numpy as np
from measure import alternate, keep

import entropylab as el


def main() -> None:
    rng = np.random.default_rng(0)
    steps = np.arange(40)
    entropy = 0.05 + 0.4 * np.exp(-steps / 12)
    performance = -0.6 * np.exp(entropy) + 1.1 + rng.normal(0, 0.01, len(steps))
    seconds = alternate(
        {
            "grid": lambda: el.fit_curve(entropy, performance, steps=steps),
            "ols": lambda: el.fit_curve(entropy, performance, steps=steps, method="ols"),
        }
    )
    keep(
        "curve",
        {
            "points": len(steps),
            "grid_ms": 1e3 * seconds["grid"],
            "ols_ms": 1e3 * seconds["ols"],
            "ratio": seconds["grid"] / seconds["ols"],
        },
    )


if __name__ == "__main__":
    main()
