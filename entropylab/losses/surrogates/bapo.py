"""BAPO: clip bounds that move until rewarded tokens weigh enough (arXiv 2510.18927)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from ...errors import InvalidInputError
from ..interfaces import Terms
from ..setting_checks import require_number

if TYPE_CHECKING:
    from torch import Tensor

    from ..batch import TokenBatch


@dataclass(frozen=True)
class BAPO:
    """PPO's clip at ratio bounds c⁻ and c⁺ that are moved until P / N ≥ ``target``.

    P = Σ A·min(r, c⁺) over A ≥ 0 and N = Σ |A|·max(r, c⁻) over A < 0. First c⁻ rises from ``lower_start`` by
    ``lower_step`` up to ``lower_stop`` (fewer tokens are suppressed), then c⁺ rises likewise (more tokens are
    reinforced); the first pair that suffices is taken, else the last one. The bounds are ratios, not 1 ± ε.

    Order, steps and the criterion P/N are those of the released code. The paper's text states the target as
    P/(P+N) = 0.5, which is the same as P/N = 1, but wider ranges (c⁻ up to 0.9, c⁺ up to 3.0). Its dual clip
    is left out. The bounds are found on the tokens given and on their advantages as given: where a batch
    comes in pieces, find them once with ``bounds`` and pass ``PPOClip(low=1 - c⁻, high=c⁺ - 1)``.
    """

    scope: ClassVar[str] = "batch"
    target: float = 1.0
    lower_start: float = 0.6
    lower_stop: float = 0.8
    lower_step: float = 0.05
    upper_start: float = 1.2
    upper_stop: float = 2.0
    upper_step: float = 0.05

    def __post_init__(self) -> None:
        require_number("BAPO", "target", self.target, least=0.0)
        for side in ("lower", "upper"):
            start, stop, step = (getattr(self, f"{side}_{name}") for name in ("start", "stop", "step"))
            require_number("BAPO", f"{side}_start", start, least=0.0)
            require_number("BAPO", f"{side}_stop", stop, least=0.0)
            require_number("BAPO", f"{side}_step", step)
            if start > stop:
                raise InvalidInputError(f"BAPO: {side}_start={start!r} is above {side}_stop={stop!r}")
            if step <= 0:
                raise InvalidInputError(f"BAPO: {side}_step={step!r} is not positive")
        if self.lower_stop > 1.0 or self.upper_start < 1.0:
            raise InvalidInputError(
                f"BAPO: lower_stop={self.lower_stop!r} and upper_start={self.upper_start!r} do not enclose a "
                "ratio of 1; the bounds are ratios (0.8 and 1.2), not widths (0.2 and 0.2)"
            )

    def pairs(self) -> list[tuple[float, float]]:
        """The pairs (c⁻, c⁺) in the order in which they are tried."""
        lower = _steps(self.lower_start, self.lower_stop, self.lower_step)
        upper = _steps(self.upper_start, self.upper_stop, self.upper_step)
        return [*((low, upper[0]) for low in lower), *((lower[-1], high) for high in upper[1:])]

    def bounds(self, ratio: Tensor, advantages: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """The bounds (c⁻, c⁺) of a token set, 0-d each; all [B, T], the mask bool or 0/1. Never syncs."""
        from ..backend import torch

        inside = mask.bool()
        ratio = torch.where(inside, ratio, 1.0)
        advantages = torch.where(inside, advantages, 0.0)
        positive, negative = advantages.clamp(min=0), advantages.clamp(max=0).neg()
        pairs = self.pairs()
        up = {high: (positive * ratio.clamp(max=high)).sum() for high in {high for _, high in pairs}}
        down = {low: (negative * ratio.clamp(min=low)).sum() for low in {low for low, _ in pairs}}
        enough = torch.stack([up[high] >= self.target * down[low] for low, high in pairs])
        place = torch.where(enough.any(), enough.to(torch.int32).argmax(), len(pairs) - 1).to(ratio.dtype)
        n_lower = len({low for low, _ in pairs}) - 1
        lower = (self.lower_start + place * self.lower_step).clamp(max=self.lower_stop)
        upper = self.upper_start + (place - n_lower).clamp(min=0.0) * self.upper_step
        return lower, upper.clamp(max=self.upper_stop)

    def terms(self, batch: TokenBatch) -> Terms:
        """The loss of each token and its slope, [B, T]."""
        from ..batch import where_unclamped

        lower, upper = self.bounds(batch.ratio, -batch.signal, batch.inside)
        free = batch.signal * batch.ratio
        bounded = batch.signal * batch.ratio.clamp(lower, upper)
        unclipped = (bounded <= free).to(free.dtype)
        slope = where_unclamped(free * unclipped, batch.log_ratio)
        valid = (batch.count > 0).to(lower.dtype)
        found = {"bapo/lower": lower * valid, "bapo/upper": upper * valid}
        return Terms(bounded.maximum(free), slope, unclipped, unclipped=unclipped, reports=found)


def _steps(start: float, stop: float, step: float) -> list[float]:
    """``start``, then up by ``step``, the last one ``stop``."""
    n_whole = math.ceil((stop - start) / step - 1e-9)
    return [*(start + i * step for i in range(n_whole)), stop]
