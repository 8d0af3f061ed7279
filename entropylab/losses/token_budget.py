"""How many tokens a control chooses: k = max(minimum, floor(fraction · N)), or a fixed count."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class TokenBudget:
    """The number of tokens to choose among N, as a fraction of N or as a fixed count."""

    fraction: float | None = None
    count: int | None = None
    minimum: int = 1

    def of(self, n_tokens: int) -> int:
        """K for ``n_tokens`` tokens, at most ``n_tokens``; also the static bound for a padded batch."""
        if self.count is not None:
            return min(self.count, n_tokens)
        assert self.fraction is not None
        return min(max(self.minimum, math.floor(self.fraction * n_tokens)), n_tokens)

    def of_tensor(self, n_tokens: Tensor) -> Tensor:
        """The same k for a 0-d int64 count that stays on its device."""
        if self.count is not None:
            return n_tokens.clamp(max=self.count)
        assert self.fraction is not None
        share = (n_tokens.double() * self.fraction).floor().to(n_tokens.dtype)
        return share.clamp(min=self.minimum).minimum(n_tokens)
