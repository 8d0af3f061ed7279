"""The tensors of each token of a loss from hidden states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..masking import as_indicator, nan_outside

if TYPE_CHECKING:
    from torch import Tensor

    from ..token_tensors import TokenSource


@dataclass(frozen=True)
class HeadTokens:
    """What they are made from: those of ``policy_loss``, and those that the head gave."""

    source: TokenSource | dict[str, Tensor]
    logprobs: Tensor
    entropy: Tensor
    mask: Tensor

    def tensors(self) -> dict[str, Tensor]:
        """Of ``token_tensors``, and ``logprobs`` and ``entropy`` [B, T]; NaN or False outside the mask."""
        made = self.source if isinstance(self.source, dict) else self.source.tensors()
        missing = nan_outside(as_indicator(self.mask, self.logprobs.dtype))
        return made | {"logprobs": self.logprobs + missing, "entropy": self.entropy + missing}
