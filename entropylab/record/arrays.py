"""Tensors of any framework, device and type as checked NumPy arrays; torch is never imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import InvalidInputError


def as_array(value: Any, name: str) -> np.ndarray:
    """The value as a NumPy array; a torch tensor is detached, moved to the CPU and, if float, made float32.

    The result may share memory with the value: copy before keeping it.
    """
    if hasattr(value, "detach"):
        tensor = value.detach().to("cpu")
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    try:
        array = np.asarray(value)
    except ValueError as error:
        raise InvalidInputError(f"{name} is not a rectangular array: {error}") from error
    if array.dtype.kind not in "fiubV":
        raise InvalidInputError(f"{name} must hold numbers, got dtype {array.dtype}")
    return array


def per_token(value: Any, shape: tuple[int, ...], name: str, broadcast: bool = False) -> np.ndarray:
    """The value as an array [B, T]; with ``broadcast`` also from [B], one value a response."""
    array = as_array(value, name)
    if broadcast and array.shape == shape[:1]:
        return np.broadcast_to(array[:, None], shape)
    if array.shape != tuple(shape):
        wanted = f"[B, T] = {list(shape)}" + (f" or [B] = [{shape[0]}]" if broadcast else "")
        raise InvalidInputError(f"{name} must have shape {wanted}, got {list(array.shape)}")
    return array


def valid_mask(value: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The mask as bool [B, T]; `InvalidInputError` for values other than 0 and 1."""
    array = per_token(value, shape, "mask")
    mask = array.astype(bool)
    if array.dtype != bool and not (array == mask).all():
        wrong = array[array != mask].ravel()[0]
        raise InvalidInputError(f"mask must be bool or 0/1, found the value {wrong!r}")
    return mask


def floats(array: np.ndarray, name: str) -> np.ndarray:
    """The array as float32; `InvalidInputError` for what is not a number."""
    try:
        with np.errstate(over="ignore"):
            return np.asarray(array, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidInputError(f"{name} must hold real numbers, got dtype {array.dtype}") from error


def integers(array: np.ndarray, name: str, dtype: type[np.integer]) -> np.ndarray:
    """A copy as an integer type; `InvalidInputError` for fractions and for values that do not fit."""
    array = np.asarray(array)
    if array.size and array.dtype.kind not in "iu":
        raise InvalidInputError(f"{name} must hold integers, got dtype {array.dtype}")
    bounds = np.iinfo(dtype)
    if array.size and (int(array.min()) < bounds.min or int(array.max()) > bounds.max):
        raise InvalidInputError(f"{name} must fit {bounds.dtype}, found {array.min()} to {array.max()}")
    return array.astype(dtype, copy=True)


def whole_number(value: Any, name: str, low: int, high: int) -> int:
    """A whole number in [low, high] from an int, a NumPy integer or a 0-d tensor."""
    try:
        number = int(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidInputError(f"{name} must be a whole number, got {value!r}") from error
    if isinstance(value, bool | str) or number != value or not low <= number <= high:
        raise InvalidInputError(f"{name} must be a whole number from {low} to {high}, got {value!r}")
    return number
