"""The trainer's forward pass with logprobs and entropies from hidden states.

The model is called as it is, with whatever wraps it; only its head does something else in that call: in the
place of logits it makes the logprobs and entropies of the tokens, a chunk at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from inspect import signature
from typing import TYPE_CHECKING, Any

import torch

from ...errors import EntropylabError, InvalidInputError
from ...losses.heads.linear_op import linear_logprob_entropy
from .head_checks import FORWARD, plain_head
from .logit_rule import LogitRule, logit_rule

if TYPE_CHECKING:
    from torch import Tensor


class FusedHead:
    """Stands for `_get_per_token_logps_and_entropies` of a `GRPOTrainer`, for policy and reference."""

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer
        self._counts_aux_loss = "compute_aux_loss" in signature(getattr(trainer, FORWARD)).parameters
        self._rules: dict[Any, LogitRule] = {}
        for model in (trainer.model, trainer.ref_model):
            if model is not None:
                self._head_and_rule(model)

    def __call__(
        self,
        model: Any,
        input_ids: Tensor,
        attention_mask: Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **others: Any,
    ) -> tuple[Any, ...]:
        """Logprobs and entropies [B, logits_to_keep], and from TRL 1.7 on the loss that balances experts."""
        _check_no_others(others)
        pieces = [
            self._piece(model, _Tokens(ids, attended, logits_to_keep), compute_aux_loss)
            for ids, attended in zip(
                input_ids.split(batch_size or len(input_ids)),
                attention_mask.split(batch_size or len(input_ids)),
                strict=True,
            )
        ]
        logprobs, entropy = (torch.cat([piece[i] for piece in pieces]) for i in range(2))
        found = logprobs, entropy if compute_entropy else None
        if not self._counts_aux_loss:
            return found
        return *found, torch.stack([piece[2] for piece in pieces]).mean() if compute_aux_loss else None

    def _piece(self, model: Any, tokens: _Tokens, compute_aux_loss: bool) -> tuple[Tensor, Tensor, Any]:
        head, rule = self._head_and_rule(model)
        read = _Reading(head, tokens, rule, self._trainer.temperature, self._precision())
        wanted = {"output_router_logits": True} if compute_aux_loss else {}
        with self._trainer.accelerator.autocast(), in_place_of(head, read):
            out = model(input_ids=tokens.ids, attention_mask=tokens.attended, use_cache=False, **wanted)
        logprobs, entropy = read.result(model)
        return logprobs, entropy, out.aux_loss if compute_aux_loss else None

    def _head_and_rule(self, model: Any) -> tuple[Any, LogitRule]:
        """The head of a model, checked, and the rule of its logits, found once."""
        unwrapped = self._trainer.accelerator.unwrap_model(model)
        head = plain_head(unwrapped)
        if head not in self._rules:
            self._rules[head] = logit_rule(unwrapped, head)
        return head, self._rules[head]

    def _precision(self) -> AbstractContextManager[Any]:
        """Outside autocast where the trainer's head is to compute in float32."""
        if not getattr(self._trainer.args, "cast_lm_head_to_fp32", False):
            return nullcontext()
        return torch.autocast(self._trainer.accelerator.device.type, enabled=False)


@dataclass(frozen=True)
class _Tokens:
    """Whole sequences [B, L], of which the last ``keep`` tokens are scored."""

    ids: Tensor
    attended: Tensor
    keep: int


class _Reading:
    """In the place of a head: keeps logprobs and entropies of the tokens that its hidden states predict."""

    def __init__(
        self,
        head: Any,
        tokens: _Tokens,
        rule: LogitRule,
        temperature: float,
        precision: AbstractContextManager[Any],
    ) -> None:
        self._head, self._tokens, self._rule = head, tokens, rule
        self._temperature, self._precision = temperature, precision
        self._found: list[tuple[Tensor, Tensor]] = []

    def __call__(self, states: Tensor) -> Tensor:
        """Both as [B, keep, 2], so that the model's output hangs on all its weights, as logits do."""
        ids, attended, keep = self._tokens.ids, self._tokens.attended, self._tokens.keep
        with self._precision:
            found = linear_logprob_entropy(
                states[:, -keep - 1 : -1],
                self._head.weight,
                ids[:, -keep:],
                bias=self._head.bias,
                temperature=self._temperature / self._rule.scale,
                softcap=self._rule.softcap_before_scale,
                mask=attended[:, -keep:],
            )
        self._found.append(found)
        return torch.stack(found, dim=-1)

    def result(self, model: Any) -> tuple[Tensor, Tensor]:
        """Logprobs and entropies [B, keep]."""
        if len(self._found) != 1:
            raise EntropylabError(
                f"attach: head='fused': {type(model).__name__} called its output embedding "
                f"{len(self._found)} times in a forward pass instead of once; attach with head='logits'"
            )
        return self._found[0]


@contextmanager
def in_place_of(head: Any, forward: Callable[[Any], Any]) -> Iterator[None]:
    """Let ``forward`` stand for that of a module, hooks of the module included."""
    head.forward = forward
    try:
        yield
    finally:
        del head.forward


def _check_no_others(others: dict[str, Any]) -> None:
    given = [name for name, value in others.items() if value is not None]
    if given:
        raise InvalidInputError(
            f"attach: head='fused' passes tokens alone to the model, and this batch has {', '.join(given)}; "
            "train on text, or attach with head='logits'"
        )
