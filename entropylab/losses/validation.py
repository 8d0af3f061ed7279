"""Checks of the tensors given to a loss; each error names the tensor, the value and the mend."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidInputError, MissingInputError
from .backend import torch
from .fixed_point import LARGEST

if TYPE_CHECKING:
    from torch import Tensor

    from .batch import TokenBatch
    from .survey import Survey


def resolve_validate(validate: bool | None, logprobs: Tensor) -> bool:
    """Whether values are checked: as asked, else only where that waits for no device and breaks no graph."""
    if validate is None:
        return logprobs.device.type == "cpu" and not torch.compiler.is_compiling()
    return validate


def check_tensors(**tensors: Any) -> None:
    """Check kinds, shapes, dtypes and devices of ``logprobs`` and of the tensors beside it; never syncs."""
    logprobs = tensors["logprobs"]
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor):
            raise InvalidInputError(f"{name} is {type(tensor).__name__}, not a torch tensor")
    if logprobs.dim() != 2:
        raise InvalidInputError(f"logprobs has shape {list(logprobs.shape)}; give [B, T]")
    for name, tensor in tensors.items():
        _check_shape(name, tensor, logprobs)
        _check_dtype(name, tensor)
        if tensor.device != logprobs.device:
            raise InvalidInputError(
                f"{name} is on {tensor.device} but logprobs on {logprobs.device}; move one"
            )


def _check_shape(name: str, tensor: Tensor, logprobs: Tensor) -> None:
    shape, rows = list(logprobs.shape), [logprobs.shape[0]]
    allowed = {"advantages": [shape, rows], "sample_ids": [rows]}.get(name, [shape])
    if list(tensor.shape) not in allowed:
        wanted = " or ".join(map(str, allowed))
        raise InvalidInputError(
            f"{name} has shape {list(tensor.shape)}; logprobs is {shape}, so give {wanted}"
        )


def _check_dtype(name: str, tensor: Tensor) -> None:
    if name == "mask":
        if tensor.is_complex():
            raise InvalidInputError(f"mask has dtype {tensor.dtype}; give bool or 0/1")
    elif name == "sample_ids":
        if tensor.dtype != torch.int64:
            raise InvalidInputError(f"sample_ids has dtype {tensor.dtype}; give int64")
    elif not tensor.is_floating_point():
        raise InvalidInputError(f"{name} has dtype {tensor.dtype}; give a floating-point tensor")


def check_needs(owner: str, needs: tuple[str, ...], given: dict[str, Any]) -> None:
    """Raise where ``owner`` needs an input that was not given."""
    for name in needs:
        if given.get(name) is None:
            raise MissingInputError(f"{owner} needs {name}=, which was not given to policy_loss")


def check_denominator(denominator: Any, *, validate: bool) -> None:
    """Raise unless the denominator is None or a positive number or 0-d tensor."""
    if denominator is None:
        return
    if isinstance(denominator, torch.Tensor):
        if denominator.dim() != 0:
            raise InvalidInputError(f"denominator has shape {list(denominator.shape)}; give one number")
        if not validate:
            return
    elif isinstance(denominator, bool) or not isinstance(denominator, (int, float)):
        raise InvalidInputError(f"denominator={denominator!r} is not a number")
    if not 0 < float(denominator) < float("inf"):
        raise InvalidInputError(f"denominator={float(denominator):g} is not a positive number")


def check_full_kl(nonfinite: tuple[Tensor, ...]) -> None:
    """Raise where ``full_kl`` was not finite at a token that counts. Waits for the device."""
    for bad in nonfinite:
        if bool(bad > 0):
            raise InvalidInputError(
                f"full_kl is not finite at {int(bad)} of the tokens it was called for; check both sides"
            )


def check_values(
    batch: Survey | TokenBatch, mask: Tensor, tensors: dict[str, Any], *, may_be_empty: bool
) -> None:
    """Raise for a mask that is empty or not 0/1, repeated sample ids, or a non-finite value inside the mask.

    Waits for the device.
    """
    if mask.dtype != torch.bool:
        _check_mask_values(mask)
    if batch.sample_ids is not None:
        _check_unique(batch.sample_ids)
    if bool(batch.nonfinite > 0):
        _name_nonfinite(mask != 0, tensors)
    if not may_be_empty and not bool(batch.count > 0):
        raise InvalidInputError(
            "mask is empty: no token to average over; drop this batch, or pass denominator= "
            "(the global count) so that it counts as 0"
        )


def _check_mask_values(mask: Tensor) -> None:
    if mask.numel() == 0:
        return
    least, most = torch.aminmax(torch.addcmul(mask, mask, mask, value=-1))
    if not bool((least == 0) & (most == 0)):
        wrong = (mask != 0) & (mask != 1)
        row, column = _first_index(wrong)
        raise InvalidInputError(
            f"mask[{row}, {column}] is {mask[row, column].item()}; give bool or 0/1 (1 inside the mask)"
        )


def _check_unique(sample_ids: Tensor) -> None:
    ordered = sample_ids.sort().values
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeated):
        raise InvalidInputError(f"sample_ids holds {int(repeated[0])} more than once; give one id a response")


def _name_nonfinite(inside: Tensor, tensors: dict[str, Any]) -> None:
    for name, tensor in tensors.items():
        if not isinstance(tensor, torch.Tensor) or not tensor.is_floating_point() or name == "mask":
            continue
        values = tensor.detach()
        values = values.unsqueeze(1).expand(inside.shape) if values.dim() == 1 else values
        wrong = inside & ~(values.abs().double() < LARGEST)
        if bool(wrong.any()):
            row, column = _first_index(wrong)
            raise InvalidInputError(
                f"{name}[{row}, {column}] is {values[row, column].item()} inside the mask "
                f"({int(wrong.sum())} such values); mask these tokens out or mend their source: values must "
                f"be finite and smaller than {LARGEST:.0f}"
            )
    raise InvalidInputError("values inside the mask are too large together; check logprobs and old_logprobs")


def _first_index(marked: Tensor) -> tuple[int, int]:
    row, column = marked.nonzero()[0].tolist()
    return row, column
