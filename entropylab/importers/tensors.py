"""torch files read without running anything in them, and their tensors as NumPy vectors."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import require_extra
from .faults import RecordError


def load_tensors(path: Path) -> Any:
    """The content of a file of torch.save with weights_only=True; `RecordError` if broken or refused."""
    try:
        import torch
    except ImportError:
        raise require_extra("torch", "train", "reading a dump of miles") from None
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise RecordError(
            f"holds more than tensors and plain values, so it is not loaded ({reason})"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError, KeyError) as error:
        raise RecordError(f"not a whole file of torch.save ({str(error).splitlines()[0]})") from None


def as_vector(value: Any, name: str) -> np.ndarray:
    """A tensor or list of numbers as float64 [T]."""
    try:
        tensor = value.detach().to("cpu").double() if hasattr(value, "detach") else value
        array = np.asarray(tensor, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise RecordError(f"{name} must hold numbers ({error})") from None
    if array.ndim != 1:
        raise RecordError(f"{name} must be a vector, its shape is {list(array.shape)}")
    return array
