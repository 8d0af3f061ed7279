"""Noise models AR(1) + white noise on a grid of cells, and a Kalman filter that runs all cells at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_TAU, N_SHARE = 13, 9
PRIOR_POWER = 0.25
"""gamma: the prior of a cell falls with its correlation time as tau^-gamma."""
SHORTEST = 0.25
_BLOCK = 256


@dataclass(frozen=True)
class Cells:
    """C noise models V = s exp(-|ti - tj|/tau) + (1 - s) I, time in units of the usual gap.

    tau [C] correlation times, share [C] the AR(1) share s of the variance, log_prior [C].
    """

    tau: np.ndarray
    share: np.ndarray
    log_prior: np.ndarray

    def decay(self, gap: np.ndarray | float) -> np.ndarray:
        """exp(-gap/tau): [C] for one gap, [n, C] for gaps [n]."""
        return np.exp(-np.asarray(gap, dtype=float)[..., None] / self.tau)


@dataclass(frozen=True)
class Filtered:
    """What the filter leaves of k columns, for C cells.

    products [C, k, k] = Y' V^-1 Y, log_det [C] = log det V, state [C, k] and variance [C]: the expected
    AR(1) part of each column at the last time and its variance.
    """

    products: np.ndarray
    log_det: np.ndarray
    state: np.ndarray
    variance: np.ndarray


def grid_cells(m: int) -> Cells:
    """Pure white noise, and tau at the midpoints of 13 log bins of [1/2, 2m] times s = (j - 1/2)/9.

    Log prior -gamma log(max(tau, 1/4)), less log 9 where the cell shares its tau with the other s.
    """
    bins = (np.arange(N_TAU) + 0.5) / N_TAU
    tau = 0.5 * (4.0 * m) ** bins
    share = (np.arange(1, N_SHARE + 1) - 0.5) / N_SHARE
    taus = np.concatenate([[SHORTEST], np.repeat(tau, N_SHARE)])
    shares = np.concatenate([[0.0], np.tile(share, N_TAU)])
    log_prior = -PRIOR_POWER * np.log(np.maximum(taus, SHORTEST))
    log_prior[1:] -= np.log(N_SHARE)
    return Cells(taus, shares, log_prior)


def filter_cells(times: np.ndarray, columns: np.ndarray, cells: Cells) -> Filtered:
    """Kalman filter of columns [m, k] over sorted times [m] (in usual gaps), every cell at once.

    a <- f a, P <- f^2 P + s (1 - f^2), F = P + 1 - s, v = y - a, a <- a + (P/F) v, P <- P - P^2/F
    with f = exp(-dt/tau), started at a = 0, P = s.
    """
    (m, k), C = columns.shape, len(cells.tau)
    decay = cells.decay(np.diff(times, prepend=times[0]))
    total, gain, variance = _variances(decay, cells.share)
    products, state = np.zeros((C, k, k)), np.zeros((C, k))
    for start in range(0, m, _BLOCK):
        block = slice(start, min(start + _BLOCK, m))
        surprises = np.empty((block.stop - start, C, k))
        for row, y, f, g in zip(surprises, columns[block], decay[block], gain[block], strict=True):
            state *= f[:, None]
            np.subtract(y, state, out=row)
            state += g[:, None] * row
        scaled = (surprises / np.sqrt(total[block])[..., None]).transpose(1, 2, 0)
        products += scaled @ scaled.transpose(0, 2, 1)
    return Filtered(products, np.log(total).sum(axis=0), state, variance)


def _variances(decay: np.ndarray, share: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Variance F [m, C] of each surprise, gain P/F [m, C], and P [C] after the last time."""
    squared = decay**2
    fresh = share * (1.0 - squared)
    total, gain = np.empty_like(decay), np.empty_like(decay)
    white, variance = 1.0 - share, share
    for i in range(len(decay)):
        variance = squared[i] * variance + fresh[i]
        total[i] = variance + white
        gain[i] = variance / total[i]
        variance = gain[i] * white
    return total, gain, variance
