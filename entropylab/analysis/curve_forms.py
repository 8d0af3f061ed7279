"""Curve forms that compete with the law R = -a exp(H) + b, as separable models of H."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .curve_separable import SeparableModel

_SMALLEST = 1e-12
_LARGEST = 100.0


@dataclass(frozen=True)
class Form:
    """A curve form: name, formula, names of its linear, then nonlinear parameters, model and starts."""

    name: str
    formula: str
    parameters: tuple[str, ...]
    model: SeparableModel
    starts: tuple[tuple[float, ...], ...] = ((),)


def _no_slopes(h: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return np.empty((0, len(h), 2))


def _law(h: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(h), -np.exp(h)])


def _linear(h: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(h), -h])


def _power(h: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones_like(h), -(np.maximum(h, _SMALLEST) ** theta[0])])


def _power_slopes(h: np.ndarray, theta: np.ndarray) -> np.ndarray:
    h = np.maximum(h, _SMALLEST)
    return np.column_stack([np.zeros_like(h), -(h ** theta[0]) * np.log(h)])[None]


def _exponential(h: np.ndarray, theta: np.ndarray) -> np.ndarray:
    c = theta[0]
    z = np.minimum(c * h, _LARGEST)
    return np.column_stack([np.ones_like(h), -np.expm1(z) / c if c else -h])


def _exponential_slopes(h: np.ndarray, theta: np.ndarray) -> np.ndarray:
    c = theta[0]
    z = np.minimum(c * h, _LARGEST)
    near = h**2 * (1 / 2 + z / 3 + z**2 / 8)
    far = (z * np.exp(z) - np.expm1(z)) / (c * c if c else 1.0)
    return np.column_stack([np.zeros_like(h), -np.where(np.abs(z) < 1e-4, near, far)])[None]


def _logistic(h: np.ndarray, theta: np.ndarray) -> np.ndarray:
    return (1.0 / (1.0 + np.exp(np.clip(theta[1] * h - theta[0], -_LARGEST, _LARGEST))))[:, None]


def _logistic_slopes(h: np.ndarray, theta: np.ndarray) -> np.ndarray:
    f = _logistic(h, theta)[:, 0]
    fall = f * (1.0 - f)
    return np.stack([fall, -fall * h])[..., None]


FORMS: tuple[Form, ...] = (
    Form("law", "R = b - a exp(H)", ("b", "a"), SeparableModel(_law, _no_slopes)),
    Form("linear", "R = b - a H", ("b", "a"), SeparableModel(_linear, _no_slopes)),
    Form(
        "power",
        "R = b - a H^c",
        ("b", "a", "c"),
        SeparableModel(_power, _power_slopes, (0.02,), (20.0,)),
        ((0.5,), (2.0,)),
    ),
    Form(
        "exponential",
        "R = b - a (exp(c H) - 1)/c",
        ("b", "a", "c"),
        SeparableModel(_exponential, _exponential_slopes, (-30.0,), (30.0,)),
        ((1.0,), (-3.0,)),
    ),
    Form(
        "logistic",
        "R = b / (1 + exp(c H - d))",
        ("b", "d", "c"),
        SeparableModel(_logistic, _logistic_slopes, (-60.0, -200.0), (60.0, 200.0)),
        ((1.0, 1.0), (0.0, 5.0), (3.0, 5.0)),
    ),
)
"""The law and the smooth forms it is compared with; the exponential is the law with a free rate."""
