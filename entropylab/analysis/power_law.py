"""Is it a power law? The exact fit, its goodness, and the shapes it is held against (arXiv 0706.1062)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import InsufficientDataError, InvalidInputError, UnknownNameError
from .jsonable import jsonable
from .power_law_bootstrap import Goodness, bootstrap_goodness
from .power_law_data import FitSettings, Fitted, fit_ordered
from .power_law_ratio import LikelihoodRatio, likelihood_ratio
from .power_law_scan import Floats
from .power_law_shapes import SHAPES, Shape, power_law
from .power_law_whole import whole_power_law, whole_shape

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, eq=False)
class PowerLawFit:
    """A power law p(x) ~ x^-alpha for x >= xmin, by maximum likelihood.

    xmin: given, or the threshold of the smallest Kolmogorov-Smirnov distance ``ks`` (exact over every
    distinct value). se_alpha = (alpha - 1)/sqrt(n_tail), without the uncertainty of xmin. n values, n_tail of
    them in the tail.
    """

    alpha: float
    xmin: float
    n_tail: int
    ks: float
    n: int
    discrete: bool
    se_alpha: float
    fixed_xmin: bool
    values: Floats = field(repr=False)

    @property
    def tail(self) -> Floats:
        """The values x >= xmin in the order given, [n_tail]."""
        return self.values[self.values >= self.xmin]

    def goodness_of_fit(
        self, n_bootstrap: int = 1000, *, seed: int = 0, workers: int | None = None
    ) -> Goodness:
        """p of the distance: share of semi-parametric replicates that lie at least as far from their own fit.

        A replicate draws the values below xmin from those there are, and the tail from the fitted power law;
        it is fitted as the data were, its xmin too. p = (1 + #{D* >= D})/(B + 1), standard error
        sqrt(p(1 - p)/B). The replicates are independent draws: with clustered tokens p is too small. workers:
        threads (None: as many as there are processors).
        """
        settings = FitSettings(self.discrete, self.xmin if self.fixed_xmin else None)
        return bootstrap_goodness(self.values, self._fitted(), settings, n_bootstrap, seed, workers)

    def compare(self, alternative: str, *, clusters: ArrayLike | None = None) -> LikelihoodRatio:
        """Against "exponential", "weibull", "lognormal" or "truncated_power_law" on the tail.

        clusters [n]: ids (of prompts, say) of all values, so that the deviation is that of whole clusters.
        """
        if alternative not in SHAPES:
            known = ", ".join(SHAPES)
            raise UnknownNameError(f"alternative {alternative!r} does not exist: take one of {known}")
        tail = self.tail
        if len(np.unique(tail)) < 3:
            raise InsufficientDataError(
                f"{len(tail)} values of {len(np.unique(tail))} sizes lie above xmin = {self.xmin:g}: "
                "comparing shapes needs 3"
            )
        other, plain = self._shapes(alternative, tail)
        return likelihood_ratio(alternative, plain, other, self._codes(clusters))

    def summary(self) -> str:
        """The fit in one sentence."""
        kind = "discrete" if self.discrete else "continuous"
        how = "given" if self.fixed_xmin else "of the smallest distance"
        return (
            f"A {kind} power law of exponent {self.alpha:.4g} (standard error {self.se_alpha:.2g}) above "
            f"xmin = {self.xmin:.6g} ({how}): {self.n_tail:,} of {self.n:,} values, Kolmogorov-Smirnov "
            f"distance {self.ks:.3g}."
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, without the data."""
        return jsonable({name: value for name, value in vars(self).items() if name != "values"})

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the survival function and the fitted line; needs matplotlib."""
        from ..plots.power_law import draw_power_law

        return draw_power_law(self, ax)

    def _fitted(self) -> Fitted:
        return Fitted(self.alpha, self.xmin, self.n_tail, self.ks)

    def _codes(self, clusters: ArrayLike | None) -> NDArray[np.intp] | None:
        """The cluster of each value of the tail, [n_tail], numbered from 0."""
        if clusters is None:
            return None
        ids = np.asarray(clusters)
        if ids.shape != self.values.shape:
            raise InvalidInputError(
                f"clusters has shape {ids.shape}, the values {self.values.shape}: give one id a value"
            )
        return np.unique(ids[self.values >= self.xmin], return_inverse=True)[1]

    def _shapes(self, alternative: str, tail: Floats) -> tuple[Shape, Shape]:
        if self.discrete:
            plain = whole_power_law(tail, self.xmin, self.alpha)
            return whole_shape(alternative, tail, self.xmin, self.alpha), plain
        v = tail / self.xmin
        return SHAPES[alternative](v), power_law(v)


def fit_power_law(x: ArrayLike, *, xmin: float | None = None, discrete: bool = False) -> PowerLawFit:
    """Fit p(x) ~ x^-alpha, x >= xmin, to positive values [n] (arXiv 0706.1062).

    alpha by maximum likelihood: 1 + n/Σ ln(x/xmin), or of x^-alpha/zeta(alpha, xmin) for whole numbers
    (``discrete``). xmin None: every distinct value but the largest is tried, exactly; the smallest
    Kolmogorov-Smirnov distance wins (to the left limit of the empirical distribution, as the paper's own code
    takes it; for whole numbers to the distribution itself).
    Raises: InvalidInputError (NaN, values that are not positive, or not whole where discrete, xmin beyond the
    data), InsufficientDataError (all values of the tail alike).
    """
    values = _checked(x, discrete)
    if xmin is not None and not (np.isfinite(xmin) and 0 < xmin < values.max()):
        raise InvalidInputError(
            f"xmin is {xmin!r}: give a positive number below the largest value {values.max():g}"
        )
    fitted = fit_ordered(np.sort(values), FitSettings(discrete, xmin))
    error = (fitted.alpha - 1.0) / np.sqrt(fitted.n_tail)
    return PowerLawFit(
        fitted.alpha,
        fitted.xmin,
        fitted.n_tail,
        fitted.ks,
        len(values),
        discrete,
        float(error),
        xmin is not None,
        values,
    )


def _checked(x: ArrayLike, discrete: bool) -> Floats:
    values = np.asarray(x, dtype=np.float64)
    if values.ndim != 1:
        raise InvalidInputError(f"x has shape {values.shape}: give one row of values")
    if len(values) == 0:
        raise InsufficientDataError("x is empty: give positive values")
    bad = np.flatnonzero(~(np.isfinite(values) & (values > 0)))
    if len(bad):
        raise InvalidInputError(
            f"x[{bad[0]}] is {values[bad[0]]:g}: a power law is of finite positive values; give x[x > 0]"
        )
    if discrete and (bad := np.flatnonzero(values != np.floor(values))).size:
        raise InvalidInputError(f"x[{bad[0]}] is {values[bad[0]]:g}: discrete=True takes whole numbers")
    if values.min() == values.max():
        raise InsufficientDataError(f"all {len(values)} values are {values[0]:g}: a tail needs two sizes")
    values = values.copy()
    values.setflags(write=False)
    return values
