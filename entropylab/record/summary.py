"""The exact summary of a set of tokens, in float64: mergeable partial summaries and the row made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..schema import QUADRANTS, TOP_FRACTIONS, top_mean_column
from .bit_counts import (
    LowerCounts,
    UpperCounts,
    exponent_sums,
    lower_counts,
    mean_of,
    ordered_bits,
    top_sum,
)
from .moments import Moments
from .token_set import (
    TokenSet,
    count_nonfinite,
    count_zero_advantage,
    finite_of,
    response_values,
    token_values,
)

Row = dict[str, float | int | None]

_NO_MOMENTS = Moments()


@dataclass(frozen=True)
class Partial:
    """What merges exactly: counts, sums and `Moments` by variable."""

    n_tokens: int = 0
    n_responses: int = 0
    nonfinite_count: int = 0
    selected_count: int = 0
    zero_advantage_count: int = 0
    positive_mass: float = 0.0
    negative_mass: float = 0.0
    ratio_max: float | None = None
    moments: Mapping[str, Moments] = field(default_factory=dict)

    def merge(self, other: Partial) -> Partial:
        """The summary of the union of two disjoint sets of tokens."""
        names = {**self.moments, **other.moments}
        highest = [m for m in (self.ratio_max, other.ratio_max) if m is not None]
        return Partial(
            n_tokens=self.n_tokens + other.n_tokens,
            n_responses=self.n_responses + other.n_responses,
            nonfinite_count=self.nonfinite_count + other.nonfinite_count,
            selected_count=self.selected_count + other.selected_count,
            zero_advantage_count=self.zero_advantage_count + other.zero_advantage_count,
            positive_mass=self.positive_mass + other.positive_mass,
            negative_mass=self.negative_mass + other.negative_mass,
            ratio_max=max(highest, default=None),
            moments={n: self.moment(n).merge(other.moment(n)) for n in names},
        )

    def moment(self, name: str) -> Moments:
        """The moments of a variable, of no value where it was not recorded."""
        return self.moments.get(name, _NO_MOMENTS)


def summarize(tokens: TokenSet) -> Partial:
    """The mergeable summary of a set of tokens; statistics are over its finite values, the others counted."""
    covariance = finite_of(tokens.covariance)
    values = token_values(tokens)
    values.update(response_values(tokens))
    ratio = finite_of(values.get("ratio", np.empty(0)))
    return Partial(
        n_tokens=tokens.logprob.size,
        n_responses=tokens.n_responses,
        nonfinite_count=count_nonfinite(tokens),
        selected_count=int(np.count_nonzero(tokens.selected)),
        zero_advantage_count=count_zero_advantage(tokens),
        positive_mass=float(np.maximum(covariance, 0.0).sum()),
        negative_mass=float(np.minimum(covariance, 0.0).sum()),
        ratio_max=float(ratio.max()) if ratio.size else None,
        moments={name: Moments.of(x) for name, x in values.items()},
    )


def top_means(covariance: np.ndarray) -> Row:
    """Mean of the k = ceil(fraction · n) highest covariances for each of `schema.TOP_FRACTIONS`.

    Of the values in fp32, as they are stored; each sum is rounded once, whatever the order of the values.
    None for an empty set or one with a value that is not finite.
    """
    values = np.asarray(covariance, dtype=np.float32)
    bits = ordered_bits(values)
    upper = UpperCounts.of(values, bits)
    return top_means_of(upper, lower_counts(bits, undecided_tops(upper)))


def undecided_tops(upper: UpperCounts) -> set[int]:
    """The upper halves whose lower counts `top_means_of` needs."""
    return upper.undecided(_top_counts(upper.n)) if upper.n and upper.finite else set()


def top_means_of(upper: UpperCounts, lower: LowerCounts) -> Row:
    """`top_means` from counts."""
    columns = [top_mean_column(f) for f in TOP_FRACTIONS]
    if not upper.n or not upper.finite:
        return dict.fromkeys(columns)
    counts = _top_counts(upper.n)
    return {column: top_sum(upper, lower, k) / k for column, k in zip(columns, counts, strict=True)}


def _top_counts(n: int) -> list[int]:
    return [top_count(f, n) for f in TOP_FRACTIONS]


def top_count(fraction: float, n: int) -> int:
    """k = ceil(fraction · n), at least 1, free of the rounding of the product (0.2 · 5 is 1, not 2)."""
    return min(n, max(1, int(np.ceil(fraction * n * (1.0 - 1e-12)))))


Centre = tuple[float, float]
"""Mean logprob and mean advantage of a token set."""


def centre_of(logprob: np.ndarray, advantage: np.ndarray) -> Centre | None:
    """The centre of a token set; None where it is empty or a value is not finite."""
    return centre_from(exponent_sums(logprob), exponent_sums(advantage), len(logprob))


def centre_from(logprob: np.ndarray, advantage: np.ndarray, n: int) -> Centre | None:
    """The centre from the `exponent_sums` of n tokens.

    Whatever their order or split, equal values have that value as their mean, and so stand on one side of it.
    """
    means = mean_of(logprob, n), mean_of(advantage, n)
    return None if means[0] is None or means[1] is None else (means[0], means[1])


def quadrant_index(
    logprob: np.ndarray, advantage: np.ndarray, centre: Centre | tuple[np.ndarray, np.ndarray]
) -> np.ndarray:
    """Index into `schema.QUADRANTS` of each token; a value equal to its mean counts as high or above.

    ``centre``: of all tokens, or an array for each of the two, [n].
    """
    l, a = np.asarray(logprob, dtype=np.float64), np.asarray(advantage, dtype=np.float64)
    return 2 * (l < centre[0]).astype(np.int8) + (a < centre[1])


def quadrants(
    logprob: np.ndarray,
    advantage: np.ndarray,
    covariance: np.ndarray,
    selected: np.ndarray,
    centre: Centre | None,
) -> Row:
    """Counts and covariance masses of the four quadrants, of all tokens and of the selected ones.

    ``centre``: of the whole update. None without one, or where a covariance is not finite.
    """
    c = np.asarray(covariance, dtype=np.float64)
    if centre is None or not np.isfinite(c).all():
        return {f"{kind}_{q}": None for q in QUADRANTS for kind in _QUADRANT_KINDS}
    places = quadrant_index(logprob, advantage, centre) + len(QUADRANTS) * selected.astype(np.int64)
    counts, masses = (
        np.bincount(places, weights, 2 * len(QUADRANTS)).reshape(2, -1) for weights in (None, c)
    )
    row: Row = {}
    for i, q in enumerate(QUADRANTS):
        row |= {f"count_{q}": int(counts[:, i].sum()), f"mass_{q}": float(masses[:, i].sum())}
        row |= {f"selected_count_{q}": int(counts[1, i]), f"selected_mass_{q}": float(masses[1, i])}
    return row


_QUADRANT_KINDS = ("count", "mass", "selected_count", "selected_mass")


def finish(partial: Partial) -> Row:
    """The summary columns that follow from a partial summary; None where a value is missing or not finite."""
    n = partial.n_tokens
    whole_covariance = partial.moment("covariance").n == n > 0
    row: Row = {
        "n_tokens": n,
        "n_responses": partial.n_responses,
        "nonfinite_count": partial.nonfinite_count,
        "positive_mass": partial.positive_mass if whole_covariance else None,
        "negative_mass": partial.negative_mass if whole_covariance else None,
        "selected_count": partial.selected_count,
        "selected_fraction": partial.selected_count / n if n else None,
        "ratio_max": partial.ratio_max if partial.moment("ratio").n == n > 0 else None,
        "zero_advantage_fraction": _share(
            partial.zero_advantage_count, partial.n_responses, whole_covariance
        ),
    }
    for column, (name, over) in _MEANS.items():
        row[column] = _whole(partial, name, over).mean if _whole(partial, name, over).n else None
    for name in ("logprob", "advantage", "covariance"):
        row.update(_shape(name, _whole(partial, name, "n_tokens")))
    row["reward_std"] = _whole(partial, "reward", "n_responses").std
    return row


_MEANS: dict[str, tuple[str, str]] = {
    "entropy_token_mean": ("entropy", "n_tokens"),
    "entropy_response_mean": ("response_entropy", "n_responses"),
    "entropy_after_token_mean": ("entropy_after", "n_tokens"),
    "logprob_mean": ("logprob", "n_tokens"),
    "advantage_mean": ("advantage", "n_tokens"),
    "covariance_mean": ("covariance", "n_tokens"),
    "selected_covariance_mean": ("selected_covariance", "selected_count"),
    "ratio_mean": ("ratio", "n_tokens"),
    "clipped_fraction": ("clipped", "n_tokens"),
    "kl_k1": ("kl_k1", "n_tokens"),
    "kl_k3": ("kl_k3", "n_tokens"),
    "kl_ref_k1": ("kl_ref_k1", "n_tokens"),
    "kl_ref_k3": ("kl_ref_k3", "n_tokens"),
    "reward_mean": ("reward", "n_responses"),
    "response_length_mean": ("response_length", "n_responses"),
}


def _whole(partial: Partial, name: str, over: str) -> Moments:
    """The moments of a variable if every token or response has a finite value, else none."""
    moments = partial.moment(name)
    return moments if moments.n == getattr(partial, over) else Moments()


def _shape(name: str, m: Moments) -> Row:
    sums = {"m2": m.m2, "m3": m.m3, "m4": m.m4} if m.n else dict.fromkeys(("m2", "m3", "m4"))
    return {
        f"{name}_{k}": v for k, v in {"std": m.std, "skew": m.skew, "kurtosis": m.kurtosis, **sums}.items()
    }


def _share(count: int, total: int, known: bool) -> float | None:
    return count / total if total and known else None
