"""Tensors of any framework, device and type as checked arrays; torch is never imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidInputError


def view_of(value: Any, name: str) -> Any:
    """The value as a NumPy array or, detached, as the torch tensor it is: no copy, no wait for a device.

    `InvalidInputError` where it does not hold numbers.
    """
    if hasattr(value, "detach"):
        if value.is_complex():
            raise InvalidInputError(f"{name} must hold numbers, got dtype {value.dtype}")
        return value.detach()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidInputError(f"{name} is not a rectangular array: {error}") from error
    if array.dtype.kind not in "fiubV":
        raise InvalidInputError(f"{name} must hold numbers, got dtype {array.dtype}")
    return array


def is_tensor(view: Any) -> bool:
    """Whether a `view_of` something is a torch tensor."""
    return hasattr(view, "detach")


def is_integer(view: Any) -> bool:
    """Whether an array or tensor holds integers; an empty array counts whatever its type."""
    if is_tensor(view):
        return not view.is_floating_point() and str(view.dtype) != "torch.bool"
    return view.size == 0 or view.dtype.kind in "iu"


def check_shape(view: Any, shape: tuple[int, ...], name: str, broadcast: bool = False) -> None:
    """`InvalidInputError` unless the shape is [B, T] or, with ``broadcast``, [B]: one value a response."""
    found = tuple(view.shape)
    if found != tuple(shape) and not (broadcast and found == tuple(shape[:1])):
        wanted = f"[B, T] = {list(shape)}" + (f" or [B] = [{shape[0]}]" if broadcast else "")
        raise InvalidInputError(f"{name} must have shape {wanted}, got {list(found)}")


def check_mask(array: np.ndarray, mask: np.ndarray) -> None:
    """`InvalidInputError` where an array that is not 0 is not 1 either; ``mask`` is ``array != 0``."""
    if array.dtype != bool and not (array == mask).all():
        wrong = array[array != mask].ravel()[0]
        raise InvalidInputError(f"mask must be bool or 0/1, found the value {wrong!r}")


def check_range(array: np.ndarray, name: str, dtype: type[np.integer]) -> None:
    """`InvalidInputError` where an integer array holds a value that does not fit ``dtype``."""
    bounds = np.iinfo(dtype)
    if array.size and (int(array.min()) < bounds.min or int(array.max()) > bounds.max):
        raise InvalidInputError(f"{name} must fit {bounds.dtype}, found {array.min()} to {array.max()}")


def floats(array: np.ndarray, name: str) -> np.ndarray:
    """The array as float32; `InvalidInputError` for what is not a number."""
    try:
        with np.errstate(over="ignore"):
            return np.asarray(array, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} must hold real numbers, got dtype {array.dtype}") from error


def whole_number(value: Any, name: str, low: int, high: int) -> int:
    """A whole number in [low, high] from an int, a NumPy integer or a 0-d tensor."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"{name} must be a whole number, got {value!r}") from error
    if isinstance(value, bool | str) or number != value or not low <= number <= high:
        raise InvalidInputError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
    return number
