"""KL-Cov: tokens of high covariance are held near a reference (arXiv 2505.22617, section 4.2)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InvalidInputError
from ..numpy_selection import first_by_key
from ..setting_checks import require_choice, require_count, require_fraction, require_number
from ..token_budget import TokenBudget
from .divergences import FULL, SAMPLED

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from ..batch import TokenBatch
    from ..interfaces import Chosen, Terms
    from ..ranking import RankInputs

_PAPER_FRACTIONS = {"7B": 2e-3, "32B": 2e-4}


@dataclass(frozen=True)
class KLCov:
    """Add beta · divergence on the k tokens of the highest covariance (eq. 13-14).

    k = ``count``, or max(minimum, ⌊fraction · N⌋) where ``count`` is None.
    ``divergence``, with D = log π - log π_ref of the sampled token: ``abs_logratio`` |D| (the authors'),
    ``k1`` D, ``k2`` D²/2, ``k3`` exp(-D) - 1 + D; or over the full vocabulary ``reverse_kl`` D(π ‖ π_ref),
    ``forward_kl`` D(π_ref ‖ π), at the chosen rows only (the reference is the one that ``full_kl`` holds).
    ``weight``: ``token_mean`` sends the penalty through the loss's reduction (over all tokens),
    ``selected_mean`` divides its sum by k. When a batch comes in pieces, give ``selection=``; without one,
    each piece adds its own selected mean, times its share of ``denominator=``.
    ``reference``: ``old`` (rollout policy) or ``ref`` (``ref_logprobs``: initial or previous policy).
    ``dead_zone``: a |D| below it, in nats, counts as 0. On-policy, |D| is rounding noise and the gradient of
    beta · |D| would be beta times a random sign.
    """

    fraction: float = 2e-3
    count: int | None = None
    beta: float = 1.0
    divergence: str = "abs_logratio"
    weight: str = "token_mean"
    reference: str = "old"
    covariance_on: str = "current"
    dead_zone: float = 0.0
    minimum: int = 1

    def __post_init__(self) -> None:
        require_fraction("KLCov", self.fraction)
        if self.count is not None:
            require_count("KLCov", "count", self.count, least=1)
        require_number("KLCov", "beta", self.beta)
        require_choice("KLCov", "divergence", self.divergence, SAMPLED + FULL)
        require_choice("KLCov", "weight", self.weight, ("token_mean", "selected_mean"))
        require_choice("KLCov", "reference", self.reference, ("old", "ref"))
        require_choice("KLCov", "covariance_on", self.covariance_on, ("current", "old"))
        require_number("KLCov", "dead_zone", self.dead_zone, least=0.0)
        require_count("KLCov", "minimum", self.minimum, least=0)
        if self.dead_zone and self.divergence in FULL:
            raise InvalidInputError(
                f"KLCov: dead_zone={self.dead_zone!r} acts on log-ratios of the sampled token, "
                f"not on divergence={self.divergence!r}; leave it 0"
            )

    @classmethod
    def paper(cls, size: str = "7B") -> KLCov:
        """The authors' form for a model ``size``: ``7B`` (0.2 % of the tokens) or ``32B`` (0.02 %)."""
        size = size.upper() if isinstance(size, str) else size
        require_choice("KLCov.paper", "size", size, tuple(_PAPER_FRACTIONS))
        return cls(fraction=_PAPER_FRACTIONS[size], beta=1.0, divergence="abs_logratio", weight="token_mean")

    @classmethod
    def targeted(cls, *, count: int | None = None, fraction: float | None = None, beta: float = 1.0) -> KLCov:
        """Selected mean of the full D(π ‖ π_ref) to a fixed reference; give ``count`` or ``fraction``."""
        if count is not None and fraction is not None:
            raise InvalidInputError(
                f"KLCov.targeted: give count={count!r} or fraction={fraction!r}, not both"
            )
        return cls(
            fraction=2e-3 if fraction is None else fraction,
            count=count,
            beta=beta,
            divergence="reverse_kl",
            weight="selected_mean",
            reference="ref",
        )

    @property
    def needs(self) -> tuple[str, ...]:
        """Names of the optional inputs of ``policy_loss`` that it needs."""
        if self.divergence in FULL:
            return ("full_kl",)
        return ("ref_logprobs",) if self.reference == "ref" else ()

    @property
    def budget(self) -> TokenBudget:
        """How many tokens it chooses."""
        return TokenBudget(self.fraction, self.count, self.minimum)

    def key(self, tokens: RankInputs) -> Tensor:
        """What tokens are chosen by, the highest first; -inf where a token may not be chosen."""
        return tokens.covariance

    def choose_numpy(
        self, covariance: Any, sample_ids: Any, positions: Any, clipped: Any = None, *, seed: int, step: int
    ) -> NDArray[np.bool_]:
        """The choice by that key from arrays [n], one entry a valid token."""
        covariance = np.asarray(covariance)
        everyone = np.ones(len(covariance), dtype=bool)
        return first_by_key(covariance, everyone, self.budget.of(len(covariance)), sample_ids, positions)

    def apply(self, batch: TokenBatch, terms: Terms, chosen: Chosen | None) -> Terms:
        """The loss with the penalty on the chosen tokens."""
        assert chosen is not None
        if self.divergence in FULL:
            return self._apply_full(batch, terms, chosen)
        from ..divergence import add_divergence, reference_log_ratio, summed_divergence

        log_ratio = reference_log_ratio(batch, self.reference)
        counted = chosen.mask
        if self.dead_zone:
            counted = counted * log_ratio.abs().ge_(self.dead_zone)
        if self.weight == "token_mean":
            return add_divergence(terms, log_ratio, self.divergence, self.beta * counted)
        return self._add_mean(terms, summed_divergence(batch, log_ratio, self.divergence, counted), chosen)

    def _apply_full(self, batch: TokenBatch, terms: Terms, chosen: Chosen) -> Terms:
        from ..divergence import full_divergence

        counts = chosen.mask.squeeze(1).bool()
        values, bad = full_divergence(batch, chosen.rows, counts, self.divergence)
        terms = replace(terms, nonfinite=(*terms.nonfinite, bad))
        if self.weight == "selected_mean":
            return self._add_mean(terms, values.sum(), chosen)
        return replace(terms, per_token=(*terms.per_token, self.beta * values.unsqueeze(1)))

    def _add_mean(self, terms: Terms, total: Tensor, chosen: Chosen) -> Terms:
        mean = self.beta * chosen.share * total / chosen.count.clamp(min=1)
        return replace(terms, extra=(*terms.extra, mean))
