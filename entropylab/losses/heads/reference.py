"""What controls need of a reference policy, made from its hidden states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidInputError, MissingInputError
from ..full_kl import FullKL
from .head import HeadSettings
from .statistics import token_stats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Reference:
    """The hidden states [B, T, d] and the head [V, d] of a reference policy, or None."""

    hidden: Tensor | None
    weight: Tensor | None
    settings: HeadSettings
    biased: bool
    """Whether the policy's head has a bias."""

    def logprobs(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """Of the tokens [B, T] under the reference."""
        hidden, weight = self._given("ref_logprobs")
        return token_stats(
            hidden,
            weight,
            tokens,
            mask=mask,
            temperature=self.settings.temperature,
            softcap=self.settings.softcap,
            vocab_size=self.settings.vocab_size,
            shard=self.settings.shard,
            chunk_rows=self.settings.chunk_rows,
        ).logprobs

    def full_kl(self, hidden: Tensor, weight: Tensor) -> FullKL:
        """The divergence between both over the full vocabulary."""
        ref_hidden, ref_weight = self._given("full_kl")
        if self.settings.softcap is not None or self.settings.shard is not None:
            raise InvalidInputError(
                "full_kl from hidden states knows no softcap and no shard: give full_kl= as a function"
            )
        size = self.settings.vocab_size
        return FullKL.from_hidden(
            hidden, weight[:size], ref_hidden, ref_weight[:size], self.settings.temperature
        )

    def _given(self, name: str) -> tuple[Tensor, Tensor]:
        if self.hidden is None or self.weight is None:
            raise MissingInputError(
                f"The control needs {name}: give {name}=, or ref_hidden= and ref_weight= of the reference"
            )
        if self.biased:
            raise InvalidInputError(
                f"{name} from ref_hidden knows no bias of the head: give {name}= yourself"
            )
        return self.hidden, self.weight
