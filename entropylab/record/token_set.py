"""The tokens and responses of a piece of one update, and the variables whose moments are kept."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

LOG_RATIO_BOUND = 20.0
"""Log-ratios are clamped to ± this before exp, so that one broken token cannot give infinity."""


@dataclass(frozen=True)
class TokenSet:
    """Flat arrays over the valid tokens [N] and the responses [R] of a piece of one update.

    ``response`` gives each token's row in the response arrays. None: not recorded.
    """

    logprob: np.ndarray
    advantage: np.ndarray
    covariance: np.ndarray
    selected: np.ndarray
    response: np.ndarray
    n_responses: int
    reward: np.ndarray | None = None
    old_logprob: np.ndarray | None = None
    ref_logprob: np.ndarray | None = None
    entropy: np.ndarray | None = None
    entropy_after: np.ndarray | None = None
    influence: np.ndarray | None = None
    ratio: np.ndarray | None = None
    clipped: np.ndarray | None = None


def token_values(t: TokenSet) -> dict[str, np.ndarray]:
    """The variables over tokens whose moments are kept."""
    l = t.logprob.astype(np.float64)
    values = {"logprob": l, "advantage": t.advantage, "covariance": t.covariance}
    values["selected_covariance"] = t.covariance[t.selected]
    given = {"entropy": t.entropy, "entropy_after": t.entropy_after, "clipped": t.clipped, "ratio": t.ratio}
    values.update({name: x for name, x in given.items() if x is not None})
    if t.old_logprob is not None:
        d = _log_ratio(l, t.old_logprob)
        excess = _expm1(d)
        values.update(kl_k1=-d, kl_k3=excess - _clamped(d))
        values.setdefault("ratio", excess + 1.0)
    if t.ref_logprob is not None:
        d = _log_ratio(t.ref_logprob, l)
        values.update(kl_ref_k1=-d, kl_ref_k3=_expm1(d) - _clamped(d))
    return values


def response_values(t: TokenSet) -> dict[str, np.ndarray]:
    """The variables over responses whose moments are kept."""
    length = np.bincount(t.response, minlength=t.n_responses)
    values: dict[str, np.ndarray] = {"response_length": length} if t.response.size else {}
    if t.reward is not None:
        values["reward"] = t.reward
    if t.entropy is not None:
        total = np.bincount(t.response, weights=t.entropy.astype(np.float64), minlength=t.n_responses)
        values["response_entropy"] = total / np.maximum(length, 1)
    return values


def _log_ratio(new: np.ndarray, old: np.ndarray) -> np.ndarray:
    """new - old in float64, NaN where either is not finite, so that no clamp can make it a number."""
    with np.errstate(invalid="ignore"):
        d = np.subtract(new, old, dtype=np.float64)
    finite = np.isfinite(d)
    return d if finite.all() else np.where(finite, d, np.nan)


def _clamped(d: np.ndarray) -> np.ndarray:
    return np.clip(d, -LOG_RATIO_BOUND, LOG_RATIO_BOUND)


def _expm1(d: np.ndarray) -> np.ndarray:
    return np.expm1(_clamped(d))


def count_nonfinite(t: TokenSet) -> int:
    """Values that are not finite, over all variables that were recorded."""
    """Values that are not finite, over all variables that were recorded."""
    always = [t.logprob, t.advantage, t.covariance]
    given = [t.reward, t.old_logprob, t.ref_logprob, t.entropy, t.entropy_after, t.influence, t.ratio]
    given += always
    return sum(int(np.count_nonzero(~np.isfinite(x))) for x in given if x is not None)


def count_zero_advantage(t: TokenSet) -> int:
    """Responses without a token whose advantage is not 0."""
    """Responses without a token whose advantage is not 0."""
    nonzero = np.zeros(t.n_responses, dtype=bool)
    nonzero[t.response[t.advantage != 0.0]] = True
    return int(np.count_nonzero(~nonzero))


def finite_of(x: np.ndarray) -> np.ndarray:
    """The finite values in float64."""
    """The finite values in float64."""
    x = np.asarray(x, dtype=np.float64)
    finite = np.isfinite(x)
    return x if finite.all() else x[finite]
