"""The policy loss with a weight for each token, which trainers use for rollout correction or reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from ..losses.collective import select_tokens
from ..losses.controls.clip_cov import ClipCov
from ..losses.controls.random_clip import RandomClip
from ..losses.controls.sample_weight import SampleWeight
from ..losses.interfaces import chooses_tokens
from ..losses.policy_loss import PolicyLoss, policy_loss

if TYPE_CHECKING:
    from torch import Tensor

_SCALES_WITH_ADVANTAGE = (type(None), ClipCov, RandomClip, SampleWeight)
"""Controls under which the loss of a token times w is its loss at the advantage times w, w >= 0."""
_SELECTION_INPUTS = ("selection", "sample_ids", "seed", "step", "validate")


def weighted_policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    mask: Tensor,
    weights: Tensor,
    *,
    surrogate: Any,
    control: Any,
    way_out: str,
    **more: Any,
) -> tuple[Tensor, PolicyLoss]:
    """Loss of which each token counts ``weights`` [B, T] >= 0 times, and the report without weights.

    Every surrogate of scope ``token`` is proportional to the advantage, so the weights go there; tokens are
    chosen by the advantages without them. ``way_out``: what the user can set instead where that fails.

    Raises:
        InvalidInputError: a surrogate or control that is not proportional to the advantage.
    """
    if not isinstance(control, _SCALES_WITH_ADVANTAGE) or surrogate.scope != "token":
        raise InvalidInputError(
            f"weights of tokens cannot be applied to {surrogate} with {control}, whose loss is not "
            f"proportional to the advantage; {way_out}"
        )
    plain = (logprobs.detach(), old_logprobs, advantages, mask)
    more |= {"surrogate": surrogate, "control": control}
    if chooses_tokens(control) and more.get("selection") is None:
        given = {name: more[name] for name in _SELECTION_INPUTS[1:] if name in more}
        more["selection"] = select_tokens(control, *plain, surrogate=surrogate, **given)
    columns = advantages if advantages.dim() == 2 else advantages.unsqueeze(1)
    scaled = policy_loss(logprobs, old_logprobs, columns * weights, mask, **more)
    return scaled.loss, policy_loss(*plain, **more)
