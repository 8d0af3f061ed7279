"""What one step of an optimizer makes of a gradient: Δθ = -P g + what it carries from before + decay."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError
from ..losses.backend import torch

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, eq=False)
class Step:
    """By parameter: the diagonal P that the current gradient is multiplied with (nats per unit), Δθ of the
    momentum carried from before, and Δθ of weight decay; absent where 0.
    """

    scale: Mapping[str, Tensor]
    carried: Mapping[str, Tensor]
    decay: Mapping[str, Tensor]


def step_of(
    geometry: Any,
    lr: float | None,
    names: Mapping[str, Tensor],
    gradient: Mapping[str, Tensor],
    max_grad_norm: float | None,
) -> Step:
    """The step of ``sgd`` at a learning rate, or of an optimizer of torch with its state as it is.

    names: the module's own parameters by name; gradient: of the loss, before it is clipped to
    ``max_grad_norm``. Raises `InvalidInputError` for another optimizer or one without a parameter.
    """
    clip = _clip_factor(gradient, max_grad_norm)
    if isinstance(geometry, str):
        if geometry != "sgd":
            raise InvalidInputError(f"geometry is {geometry!r}: give 'sgd' or the optimizer")
        rate = torch.tensor(clip * (1.0 if lr is None else lr))
        return Step({name: rate.to(g) for name, g in gradient.items()}, {}, {})
    if lr is not None:
        raise InvalidInputError("lr is that of the optimizer: leave it out, or give geometry='sgd'")
    rule = _RULES.get(type(geometry).__name__)
    if rule is None:
        raise InvalidInputError(
            f"optimizer {type(geometry).__name__} is not known: give SGD, Adam, AdamW, or geometry='sgd'"
        )
    groups = {id(p): group for group in geometry.param_groups for p in group["params"]}
    scale: dict[str, Tensor] = {}
    carried: dict[str, Tensor] = {}
    decay: dict[str, Tensor] = {}
    for name, slope in gradient.items():
        parameter = names[name]
        if id(parameter) not in groups:
            raise InvalidInputError(f"the optimizer does not hold the parameter {name!r} of the model")
        group = groups[id(parameter)]
        if group.get("maximize") or group.get("amsgrad"):
            raise InvalidInputError("maximize and amsgrad are not supported: give geometry='sgd'")
        with torch.no_grad():
            parts = rule(parameter.detach(), clip * slope, group, geometry.state.get(parameter, {}))
        scale[name] = clip * parts[0]
        carried |= {} if parts[1] is None else {name: parts[1]}
        decay |= {} if parts[2] is None else {name: parts[2]}
    return Step(scale, carried, decay)


def _clip_factor(gradient: Mapping[str, Tensor], max_norm: float | None) -> float:
    """That of `torch.nn.utils.clip_grad_norm_`."""
    if max_norm is None:
        return 1.0
    norm = torch.stack([g.double().norm() for g in gradient.values()]).norm()
    return min(1.0, max_norm / (float(norm) + 1e-6))


def _adam(
    parameter: Tensor, gradient: Tensor, group: Mapping[str, Any], state: Mapping[str, Any], *, apart: bool
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """P = lr/(√v̂ + ε)·(1 - β₁)/(1 - β₁ᵗ), with v after the current gradient; 0 where v is 0."""
    (b1, b2), lr, rate = group["betas"], float(group["lr"]), float(group["weight_decay"])
    t = float(state.get("step", 0)) + 1
    old_m, old_v = state.get("exp_avg"), state.get("exp_avg_sq")
    whole = gradient if apart else gradient + rate * parameter
    v = (1 - b2) * whole.square() + (0 if old_v is None else b2 * old_v)
    by = (v / (1 - b2**t)).sqrt() + group["eps"]
    per = torch.where(v > 0, lr / by / (1 - b1**t), 0.0)
    carried = -b1 * per * (torch.zeros_like(v) if old_m is None else old_m)
    if not rate:
        return (1 - b1) * per, carried, None
    return (1 - b1) * per, carried, -parameter * (lr * rate if apart else (1 - b1) * per * rate)


def _adamw(*args: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
    return _adam(*args, apart=True)


def _plain_adam(*args: Any) -> tuple[Tensor, Tensor | None, Tensor | None]:
    parameter, gradient, group, state = args
    return _adam(parameter, gradient, group, state, apart=bool(group.get("decoupled_weight_decay")))


def _sgd(
    parameter: Tensor, gradient: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    lr, momentum, rate = float(group["lr"]), float(group["momentum"]), float(group["weight_decay"])
    buffer = state.get("momentum_buffer")
    share = 1.0 if buffer is None or not momentum else 1.0 - float(group["dampening"])
    factor = 1.0 + momentum * share if group["nesterov"] else share
    power = momentum**2 if group["nesterov"] else momentum
    carried = None if buffer is None or not momentum else -lr * power * buffer
    decay = -lr * factor * rate * parameter if rate else None
    return torch.full_like(gradient, lr * factor), carried, decay


_RULES: dict[str, Callable[..., tuple[Tensor, Tensor | None, Tensor | None]]] = {
    "SGD": _sgd,
    "Adam": _plain_adam,
    "AdamW": _adamw,
}
