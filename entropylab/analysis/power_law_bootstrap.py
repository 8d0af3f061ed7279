"""Goodness of fit of a power law by semi-parametric bootstrap (arXiv 0706.1062, section 4.1)."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InsufficientDataError, InvalidInputError
from .hurwitz import log_zeta
from .jsonable import jsonable
from .power_law_data import FitSettings, Fitted, fit_ordered
from .power_law_scan import Floats

_FARTHEST = 2.0**52
"""Whole numbers beyond this are drawn from the continuous tail."""


@dataclass(frozen=True)
class Goodness:
    """p of the distance, its Monte-Carlo standard error, and the replicates' distances."""

    p: float
    se: float
    n_bootstrap: int
    distances: Floats

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without the distances."""
        return jsonable({"p": self.p, "se": self.se, "n_bootstrap": self.n_bootstrap})


def bootstrap_goodness(
    values: Floats,
    fitted: Fitted,
    settings: FitSettings,
    n_bootstrap: int,
    seed: int,
    workers: int | None,
) -> Goodness:
    """Draw, fit and measure ``n_bootstrap`` replicates; the same for a seed whatever the workers."""
    if n_bootstrap < 1:
        raise InvalidInputError(f"n_bootstrap is {n_bootstrap}: give a positive number, 1000 say")
    body = values[values < fitted.xmin]
    seeds = np.random.SeedSequence(seed).spawn(n_bootstrap)

    def distance(one: np.random.SeedSequence) -> float:
        sample = _replicate(np.random.default_rng(one), body, len(values), fitted, settings.discrete)
        sample.sort()
        try:
            return fit_ordered(sample, settings).ks
        except InsufficientDataError:
            return 0.0

    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        distances = np.array(list(pool.map(distance, seeds)))
    p = (1 + int((distances >= fitted.ks).sum())) / (n_bootstrap + 1)
    return Goodness(p, float(np.sqrt(p * (1 - p) / n_bootstrap)), n_bootstrap, distances)


def _replicate(rng: np.random.Generator, body: Floats, n: int, fitted: Fitted, discrete: bool) -> Floats:
    """n values: each below xmin with the share that lies there, drawn from those, else from the power law."""
    n_body = int(rng.binomial(n, len(body) / n)) if len(body) else 0
    below = rng.choice(body, n_body) if n_body else np.empty(0)
    uniform = 1.0 - rng.random(n - n_body)
    draw = _whole_quantiles if discrete else _quantiles
    return np.concatenate([below, draw(uniform, fitted)])


def _quantiles(uniform: Floats, fitted: Fitted) -> Floats:
    return fitted.xmin * uniform ** (-1.0 / (fitted.alpha - 1.0))


def _whole_quantiles(uniform: Floats, fitted: Fitted) -> Floats:
    """The smallest whole x with zeta(alpha, x + 1)/zeta(alpha, xmin) < u, by doubling and halving."""
    alpha, xmin = fitted.alpha, fitted.xmin
    wanted = np.log(uniform) + log_zeta(alpha, xmin)
    low, high = np.full_like(uniform, xmin - 1.0), np.full_like(uniform, xmin)
    while (short := (log_zeta(alpha, high + 1.0) >= wanted) & (high < _FARTHEST)).any():
        low, high = np.where(short, high, low), np.where(short, 2.0 * high + 1.0, high)
    while (wide := high - low > 1.0).any():
        middle = np.floor(0.5 * (low + high))
        past = log_zeta(alpha, middle + 1.0) < wanted
        high, low = np.where(wide & past, middle, high), np.where(wide & ~past, middle, low)
    return high
