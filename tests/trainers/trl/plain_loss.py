"""An independent reference: TRL's loss and the controls from plain logits, written anew.

Nothing of the adapter or of `policy_loss` is used; the draw of Clip-Cov takes the control's NumPy twin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

import entropylab as el


@dataclass
class Settings:
    """What of the trainer's settings enters its loss."""

    loss_type: str
    low: float
    high: float
    beta: float
    accumulation: int
    max_length: int
    world_size: int = 1
    bias_correction: bool = False
    bonus: float = 0.0
    bonus_by_tokens: bool = False


@dataclass
class Piece:
    """One micro-batch of one rank, fp64."""

    logprobs: Tensor
    entropy: Tensor
    old: Tensor
    ref: Tensor | None
    advantages: Tensor
    mask: Tensor
    sample_ids: np.ndarray
    n_items: Tensor


def piece_of(model: torch.nn.Module, inputs: dict[str, Any], temperature: float = 1.0) -> Piece:
    """Logprobs and entropies of a micro-batch from the plain logits, with gradient."""
    ids = torch.cat([inputs["prompt_ids"], inputs["completion_ids"]], dim=1)
    attention = torch.cat([inputs["prompt_mask"], inputs["completion_mask"]], dim=1)
    length = inputs["completion_ids"].shape[1]
    logits = model(input_ids=ids, attention_mask=attention).logits[:, -length - 1 : -1].double() / temperature
    every = logits.log_softmax(-1)
    logprobs = every.gather(-1, inputs["completion_ids"].unsqueeze(-1)).squeeze(-1)
    old, ref = inputs.get("old_per_token_logps"), inputs.get("ref_per_token_logps")
    return Piece(
        logprobs,
        -(every.exp() * every).sum(-1),
        logprobs.detach() if old is None else old.double(),
        None if ref is None else ref.double(),
        inputs["advantages"].double(),
        inputs["completion_mask"].bool(),
        inputs["entropylab_sample_ids"].numpy(),
        inputs["num_items_in_batch"].double(),
    )


def chosen_tokens(
    control: Any, pieces: list[Piece], *, on_old: bool, clip: tuple[float, float], seed: int, step: int
) -> list[Tensor]:
    """Which tokens the control chooses on the union of the pieces, by sorting; a mask a piece."""
    flat: dict[str, list[np.ndarray]] = {name: [] for name in ("l", "a", "id", "position", "clipped")}
    for piece in pieces:
        rows, columns = (index.numpy() for index in piece.mask.nonzero(as_tuple=True))
        current, old = (x.detach()[piece.mask].numpy() for x in (piece.logprobs, piece.old))
        advantages = piece.advantages.numpy()[rows]
        ratio = np.exp((old if on_old else current) - old)
        flat["l"].append(old if on_old else current)
        flat["a"].append(advantages)
        flat["id"].append(piece.sample_ids[rows])
        flat["position"].append(columns)
        bounded = np.clip(ratio, 1 - clip[0], 1 + clip[1]) * advantages
        flat["clipped"].append(bounded < ratio * advantages)
    l, a, ids, positions, clipped = (np.concatenate(parts) for parts in flat.values())
    covariance = (l - l.mean()) * (a - a.mean())
    if getattr(control, "select", "top") == "top":
        k = max(1, int(control.fraction * len(l)))
        chosen = np.zeros(len(l), dtype=bool)
        chosen[np.argsort(-covariance)[:k]] = True
    else:
        chosen = control.choose_numpy(covariance, ids, positions, clipped, seed=seed, step=step)
    masks, start = [], 0
    for piece in pieces:
        mask = torch.zeros_like(piece.mask)
        n = int(piece.mask.sum())
        mask[piece.mask] = torch.from_numpy(chosen[start : start + n])
        masks.append(mask)
        start += n
    return masks


def piece_loss(piece: Piece, settings: Settings, control: Any, chosen: Tensor | None) -> Tensor:
    """The loss of one micro-batch as it enters the accumulated gradient."""
    a = piece.advantages.unsqueeze(1)
    log_ratio = piece.logprobs - piece.old
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - settings.low, 1 + settings.high)
    token = -torch.minimum(ratio * a, clipped * a)
    if isinstance(control, el.ClipCov):
        token = token.masked_fill(chosen, 0.0)
    elif isinstance(control, el.KLCov):
        distance = log_ratio if control.reference == "old" else piece.logprobs - piece.ref
        penalty = {"abs_logratio": distance.abs(), "k2": distance**2 / 2, "k1": distance}
        penalty["k3"] = (-distance).exp() - 1 + distance
        counts = chosen & (distance.abs() >= control.dead_zone)
        token = token + control.beta * penalty[control.divergence] * counts
    elif isinstance(control, el.EntropyAdvantage):
        shaped = a + torch.minimum(control.alpha * piece.entropy.detach(), a.abs() / control.kappa)
        token = -torch.minimum(ratio * shaped, clipped * shaped)
    if settings.beta:
        d = piece.ref - piece.logprobs
        token = token + settings.beta * (d.exp() - d - 1) * (ratio if settings.bias_correction else 1.0)
    loss = _reduced(token, piece, settings)
    entropy = (piece.entropy * piece.mask).sum()
    if settings.bonus_by_tokens and settings.loss_type == "dapo":
        return loss - settings.bonus * entropy / (piece.n_items / settings.world_size)
    return loss - settings.bonus * entropy / piece.mask.sum().clamp(min=1) / settings.accumulation


def _reduced(token: Tensor, piece: Piece, settings: Settings) -> Tensor:
    mask = piece.mask
    if settings.loss_type == "dapo":
        return (token * mask).sum() / (piece.n_items / settings.world_size)
    of_rows = (token * mask).sum(1)
    whole = {
        "grpo": (of_rows / mask.sum(1).clamp(min=1)).mean(),
        "bnpo": of_rows.sum() / mask.sum().clamp(min=1),
        "dr_grpo": of_rows.sum() / (len(mask) * settings.max_length),
    }
    return whole[settings.loss_type] / settings.accumulation


def gradients(model: torch.nn.Module, loss_of: Any) -> list[Tensor]:
    """Gradients of ``loss_of(model)``."""
    model.zero_grad()
    loss_of(model).backward()
    return [torch.zeros_like(p) if p.grad is None else p.grad.double() for p in model.parameters()]


def relative_error(found: list[Tensor], expected: list[Tensor]) -> float:
    """Norm of the difference over the norm of what is expected, over all weights."""
    difference = sum(((f.double() - e) ** 2).sum() for f, e in zip(found, expected, strict=True))
    return float((difference / sum((e**2).sum() for e in expected)).sqrt())
