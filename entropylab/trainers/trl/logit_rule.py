"""What a model does to the output of its head before it calls it logits: a scale and a soft cap."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from ...errors import InvalidInputError

if TYPE_CHECKING:
    from torch import Tensor

_SCALES = ("logit_scale", "output_multiplier", "lm_head_multiplier", "logits_scaling")
"""Settings of models in use that scale logits: some multiply by them, some divide."""

_ROUNDINGS = 8


@dataclass(frozen=True)
class LogitRule:
    """Logits = c·tanh(s·u/c) of the head's output u; without a cap c: s·u."""

    scale: float = 1.0
    softcap: float | None = None

    @property
    def softcap_before_scale(self) -> float | None:
        """c/s: the same logits are s·(c/s)·tanh(u/(c/s))."""
        return None if self.softcap is None else self.softcap / self.scale

    def logits(self, output: Tensor) -> Tensor:
        """Of the head's output."""
        scaled = output * self.scale
        return scaled if self.softcap is None else self.softcap * torch.tanh(scaled / self.softcap)


def logit_rule(model: Any, head: Any) -> LogitRule:
    """The rule by the model's settings that its logits of three tokens follow.

    Raises:
        InvalidInputError: they follow none.
    """
    output, logits = _run(model, head)
    for rule in _candidates(model.config.get_text_config()):
        if _equal(rule.logits(output.double()), logits.double(), output.dtype):
            return rule
    raise InvalidInputError(
        f"attach: head='fused' needs logits that are the output embedding's, scaled and capped at most; "
        f"{type(model).__name__} does more to them; attach with head='logits'"
    )


def _candidates(config: Any) -> list[LogitRule]:
    """No scale, then every scale that the settings name, as factor and as divisor."""
    named = [getattr(config, name, None) for name in _SCALES]
    values = [float(value) for value in named if isinstance(value, (int, float)) and value > 0]
    softcap = getattr(config, "final_logit_softcapping", None)
    scales = [1.0, *(scale for value in values for scale in (value, 1.0 / value))]
    return [LogitRule(scale, softcap) for scale in scales]


@torch.no_grad()
def _run(model: Any, head: Any) -> tuple[Tensor, Tensor]:
    """The head's output and the model's logits of three tokens; no random state is moved."""
    device, seen = head.weight.device, []
    hook = head.register_forward_hook(lambda _module, _inputs, output: seen.append(output.clone()))
    ids = torch.arange(3, device=device).unsqueeze(0) % len(head.weight)
    devices = [] if device.type == "cpu" else [device]
    try:
        with torch.random.fork_rng(devices, device_type="cuda" if device.type == "cpu" else device.type):
            logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False).logits
    finally:
        hook.remove()
    if len(seen) != 1 or seen[0].shape != logits.shape:
        raise InvalidInputError(
            f"attach: head='fused': {type(model).__name__} does not make its logits by one call of its "
            "output embedding; attach with head='logits'"
        )
    return seen[0], logits


def _equal(expected: Tensor, found: Tensor, dtype: torch.dtype) -> bool:
    tolerance = _ROUNDINGS * torch.finfo(dtype).eps
    return torch.allclose(expected, found, rtol=tolerance, atol=tolerance * float(found.abs().max()))
