"""The arguments of `Recorder.record`, checked by shape and type alone: nothing is copied or read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import InvalidInputError, MissingInputError
from .arrays import check_shape, is_integer, is_tensor, view_of

_TOKEN_FLOATS = ("logprobs", "old_logprobs", "ref_logprobs", "entropy", "entropy_after", "influence")
_LOSS_KINDS = {
    "covariance": np.float32,
    "ratio": np.float32,
    "weight": np.float32,
    "selected": np.bool_,
    "clipped": np.bool_,
}


@dataclass(frozen=True)
class Field:
    """One array of a micro-step: the name users know it by, what was given, and the type that is kept."""

    name: str
    view: Any
    dtype: type[np.generic]


@dataclass(frozen=True)
class MicroStep:
    """One call of `Recorder.record` but for its arrays."""

    update: int
    micro_step: int
    rollout: int | None
    default_ids: np.ndarray
    texts: Sequence[str] | None
    keep_empty: bool
    metrics: Mapping[str, float]


def fields_of(given: Mapping[str, Any], used: Mapping[str, Any]) -> dict[str, Field]:
    """The arrays among the arguments, by argument; those of the loss, ``used``, as ``out.<name>``.

    Raises `InvalidInputError` for a wrong shape or for something that does not hold numbers.
    """
    logprobs = view_of(given["logprobs"], "logprobs")
    if len(logprobs.shape) != 2:
        raise InvalidInputError(f"logprobs must have shape [B, T], got {list(logprobs.shape)}")
    shape = tuple(logprobs.shape)
    found = {"mask": _token_field("mask", given["mask"], shape, np.bool_)}
    for name in _TOKEN_FLOATS:
        if given[name] is not None:
            found[name] = _token_field(name, given[name], shape, np.float32)
    found["advantages"] = _token_field("advantages", given["advantages"], shape, np.float32, broadcast=True)
    if given["rewards"] is not None:
        found["rewards"] = _token_field("rewards", given["rewards"], shape, np.float64, broadcast=True)
    if given["token_ids"] is not None:
        found["token_ids"] = _integer_field("token_ids", given["token_ids"], np.int32)
        check_shape(found["token_ids"].view, shape, "token_ids")
    for name in ("sample_ids", "prompt_ids"):
        if given[name] is not None:
            found[name] = _id_field(name, given[name], shape[0])
    for name, kind in _LOSS_KINDS.items():
        if used.get(name) is not None:
            found[f"out.{name}"] = _token_field(f"out.tokens[{name!r}]", used[name], shape, kind)
    return found


def _token_field(
    name: str, value: Any, shape: tuple[int, ...], dtype: type[np.generic], broadcast: bool = False
) -> Field:
    view = view_of(value, name)
    check_shape(view, shape, name, broadcast)
    return Field(name, view, dtype)


def _integer_field(name: str, value: Any, dtype: type[np.integer]) -> Field:
    view = view_of(value, name)
    if not is_integer(view):
        raise InvalidInputError(f"{name} must hold integers, got dtype {view.dtype}")
    return Field(name, view, dtype)


def _id_field(name: str, value: Any, rows: int) -> Field:
    field = _integer_field(name, value, np.int64)
    if tuple(field.view.shape) != (rows,):
        raise InvalidInputError(f"{name} must have shape [B] = [{rows}], got {list(field.view.shape)}")
    return field


def checked_texts(texts: Sequence[str] | None, rows: int) -> list[str] | None:
    """A copy of the list of B strings; `InvalidInputError` for anything else."""
    if texts is None:
        return None
    if isinstance(texts, str) or len(texts) != rows:
        raise InvalidInputError(f"texts must be a list of B = {rows} strings, one a response")
    for text in texts:
        if not isinstance(text, str):
            raise InvalidInputError(f"texts must hold strings, got {type(text).__name__}")
    return list(texts)


def split_metrics(metrics: Mapping[str, Any] | None) -> tuple[dict[str, float], dict[str, Field]]:
    """(scalars in host memory, as floats; scalars on a device, as fields ``metrics.<name>``)."""
    known: dict[str, float] = {}
    fields: dict[str, Field] = {}
    for name, view in _scalars(metrics or {}):
        if is_tensor(view) and view.device.type != "cpu":
            fields[f"metrics.{name}"] = Field(f"metrics[{name!r}]", view.reshape(()), np.float64)
        else:
            known[name] = float(view.reshape(()))
    return known, fields


def _scalars(metrics: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in metrics.items():
        view = view_of(value, f"metrics[{name!r}]")
        void = not is_tensor(view) and view.dtype.kind == "V"
        if int(np.prod(view.shape)) != 1 or void:
            raise InvalidInputError(f"metrics[{name!r}] must be one number, got shape {list(view.shape)}")
        yield str(name), view


def loss_tokens(out: Any) -> Mapping[str, Any]:
    """The token values that the loss used, empty where one only observes."""
    if out is None:
        return {}
    tokens = getattr(out, "tokens", None)
    if not isinstance(tokens, Mapping):
        raise InvalidInputError(f"out must be the result of policy_loss or None, got {type(out).__name__}")
    if "covariance" not in tokens:
        raise MissingInputError(f"out.tokens must hold 'covariance', it holds {sorted(tokens)}")
    return tokens
