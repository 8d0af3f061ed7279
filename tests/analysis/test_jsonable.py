from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from entropylab.analysis.jsonable import jsonable
from entropylab.errors import InvalidInputError


class Colour(Enum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: float
    label: str


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (np.float32(0.5), 0.5),
        (np.int64(7), 7),
        (np.bool_(True), True),
        (float("nan"), None),
        (np.inf, None),
        (np.str_("a"), "a"),
        ((1, np.nan), [1, None]),
        (np.array([[1.0, np.inf], [2.0, 3.0]]), [[1.0, None], [2.0, 3.0]]),
        ({1: np.float64(2.0), np.int32(3): None}, {"1": 2.0, "3": None}),
        ({3, 1, 2}, [1, 2, 3]),
        (pd.Series([1.0, np.nan]), [1.0, None]),
        (pd.DataFrame({"a": [1, 2], "b": [np.nan, 0.5]}), [{"a": 1, "b": None}, {"a": 2, "b": 0.5}]),
        (pd.NA, None),
        (pd.NaT, None),
        (pd.Timestamp("2025-05-28"), "2025-05-28T00:00:00"),
        (np.datetime64("2025-05-28"), "2025-05-28"),
        (Path("a/b"), "a/b"),
        (Colour.RED, "red"),
        (Point(np.float64(np.nan), "p"), {"x": None, "label": "p"}),
    ],
)
def test_becomes_plain(value, expected):
    plain = jsonable(value)
    assert plain == expected
    assert json.loads(json.dumps(plain, allow_nan=False)) == expected


def test_types_are_exactly_plain():
    assert type(jsonable(np.float64(1.0))) is float
    assert type(jsonable(np.bool_(False))) is bool
    assert type(jsonable(np.str_("a"))) is str


def test_unknown_type_is_named():
    with pytest.raises(InvalidInputError, match="object"):
        jsonable(object())
