"""Plain, strict JSON from results: NumPy and pandas become lists and numbers, what is missing None."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import fields, is_dataclass
from datetime import date
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

from ..errors import InvalidInputError


def jsonable(value: Any) -> Any:
    """`value` as None, bool, int, float, str, list and dict with string keys.

    Non-finite numbers, NaT and pandas' NA become None; a data frame becomes a list of rows, a series or
    an array a list, a dataclass a dict of its fields. Raises InvalidInputError for any other type.
    """
    if value is None or isinstance(value, (str, bool, int)):
        return _scalar(value)
    if isinstance(value, (float, np.generic)):
        return _scalar(value.item() if isinstance(value, np.generic) else value)
    if isinstance(value, Mapping):
        return {_key(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, Set):
        return sorted((jsonable(item) for item in value), key=str)
    if isinstance(value, np.ndarray):
        return jsonable(value.tolist())
    return _from_object(value)


def _scalar(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Enum):
        return jsonable(value.value)
    if value is None or type(value) in (bool, int, float, str):
        return value
    for plain in (bool, int, float, str):
        if isinstance(value, plain):
            return plain(value)
    return _from_object(value)


def _key(key: Any) -> str:
    plain = _scalar(key.item() if isinstance(key, np.generic) else key)
    return plain if isinstance(plain, str) else str(plain)


def _from_object(value: Any) -> Any:
    if isinstance(value, Enum):
        return jsonable(value.value)
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: jsonable(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, date):  # datetime and pandas' Timestamp too
        return None if value != value else value.isoformat()
    if isinstance(value, PurePath):
        return str(value)
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return jsonable(value.to_dict(orient="records"))
    if hasattr(value, "tolist"):
        return jsonable(value.tolist())
    raise InvalidInputError(f"{type(value).__name__} has no JSON form: give numbers, text, lists or dicts")
