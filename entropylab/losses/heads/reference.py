"""What controls need of a reference policy, made from its hidden states."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ...errors import InvalidInputError, MissingInputError
from .autocast import in_autocast
from .full_kl import FullKL, require_both_biases
from .head import HeadSettings
from .statistics import token_stats

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Reference:
    """The hidden states [B, T, d] and the head [V, d] of a reference policy, or None."""

    hidden: Tensor | None
    weight: Tensor | None
    bias: Tensor | None
    """[V]."""
    settings: HeadSettings

    def logprobs(
        self, tokens: Tensor, mask: Tensor, policy_bias: Tensor | None, validate: bool | None
    ) -> Tensor:
        """Of the tokens [B, T] under the reference."""
        hidden, weight = self._given("ref_logprobs")
        require_both_biases(policy_bias, self.bias)
        return token_stats(
            hidden,
            weight,
            tokens,
            mask=mask,
            temperature=self.settings.temperature,
            bias=self.bias,
            softcap=self.settings.softcap,
            vocab_size=self.settings.vocab_size,
            shard=self.settings.shard,
            chunk_rows=self.settings.chunk_rows,
            validate=validate,
        ).logprobs

    def full_kl(self, hidden: Tensor, weight: Tensor, bias: Tensor | None) -> FullKL:
        """The divergence between both over the full vocabulary."""
        ref_hidden, ref_weight, ref_bias = in_autocast(*self._given("full_kl"), self.bias)
        if self.settings.shard is not None:
            raise InvalidInputError(
                "full_kl from hidden states knows no shard: give full_kl= as a function of flat rows"
            )
        return FullKL.from_hidden(
            hidden,
            weight,
            ref_hidden,
            ref_weight,
            self.settings.temperature,
            bias=bias,
            ref_bias=ref_bias,
            softcap=self.settings.softcap,
            vocab_size=self.settings.vocab_size,
            chunk_rows=self.settings.chunk_rows,
        )

    def _given(self, name: str) -> tuple[Tensor, Tensor]:
        if self.hidden is None or self.weight is None:
            raise MissingInputError(
                f"The control needs {name}: give {name}=, or ref_hidden= and ref_weight= of the reference"
            )
        return self.hidden, self.weight
