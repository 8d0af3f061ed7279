"""prime-rl: a custom loss, called once a response.

::

    [trainer.loss]
    type = "custom"
    import_path = "entropylab.trainers.recipes.prime_rl.loss"
    kwargs = { method = "clip_higher" }

The loss sees ONE response, and all tokens of a GRPO response share one advantage: every covariance is 0.
Clip-Cov, KL-Cov and other methods that choose tokens from a set are therefore refused here; the surrogates
(PPO with any bounds, CISPO, GPPO, GSPO) and weights by the sign of the advantage work. For the covariance
law and tail of a prime-rl run import its traces: ``entropylab import``.
Read: commit 559b447, ``src/prime_rl/trainer/rl/loss.py`` and ``docs/algorithms.md``. Run: through
the ``setup_rl_loss_fn`` and ``compute_loss`` of that commit. No training run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import InvalidInputError
from ...losses.policy_loss import PolicyLoss, policy_loss
from ..weighted_loss import weighted_policy_loss
from .method import Chosen, chosen_method

if TYPE_CHECKING:
    from torch import Tensor


def loss(inputs: Any, method: str | None = None) -> Any:
    """prime-rl's ``LossOutputs`` of one response: the summed loss of its tokens, and metrics.

    ``inputs``: prime-rl's ``LossInputs``, all [T]. prime-rl divides by the tokens of the whole batch.

    Raises:
        InvalidInputError: a method that chooses tokens, or weights that it cannot take.
    """
    from prime_rl.trainer.rl.loss import LossOutputs

    summed, out = response_loss(inputs, chosen_method(method))
    return LossOutputs(loss=summed, metrics=dict(out.metrics))


def response_loss(inputs: Any, method: Chosen) -> tuple[Tensor, PolicyLoss]:
    """Summed loss of one response and its report; importance ratios are to the inference logprobs."""
    if method.chooses:
        raise InvalidInputError(
            f"{method.control} chooses tokens by covariance, which is 0 on one response of one advantage, "
            "all that prime-rl's custom loss sees; take a method without a choice, as clip_higher"
        )
    logprobs, old = inputs.trainer_logprobs.unsqueeze(0), inputs.inference_logprobs.unsqueeze(0)
    batch = (logprobs, old, inputs.advantages.unsqueeze(0), inputs.loss_mask.unsqueeze(0))
    reference = None if inputs.ref_logprobs is None else inputs.ref_logprobs.unsqueeze(0)
    settings: dict[str, Any] = {"surrogate": method.surrogate, "control": method.control}
    settings |= {"reduction": "token_sum", "denominator": 1.0}
    if getattr(inputs, "loss_weights", None) is not None:
        weights, way_out = inputs.loss_weights.unsqueeze(0), "take an algorithm without loss weights"
        return weighted_policy_loss(*batch, weights, way_out=way_out, **settings)
    out = policy_loss(*batch, ref_logprobs=reference, **settings)
    return out.loss, out
