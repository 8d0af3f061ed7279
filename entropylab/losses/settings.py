"""Settings as plain data and back, for run folders. Free of torch."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

from ..errors import InvalidInputError, UnknownNameError
from .methods import METHODS

_KINDS: dict[str, type] = {
    type(setting).__name__: type(setting)
    for row in METHODS.values()
    for setting in (row.surrogate, row.control, row.advantages)
    if setting is not None
}
"""Class of every setting by its name: those of the rows of ``METHODS``."""


def to_dict(setting: Any) -> Any:
    """A surrogate or control as ``{"name": ..., fields}``; None stays None, a sequence becomes a list.

    Raises:
        InvalidInputError: something that is no surrogate or control.
    """
    if setting is None:
        return None
    if isinstance(setting, (list, tuple)):
        return [to_dict(one) for one in setting]
    if type(setting) not in _KINDS.values():
        raise InvalidInputError(f"{setting!r} is not a surrogate or control; known: {', '.join(_KINDS)}")
    return {"name": type(setting).__name__, **asdict(setting)}


def from_dict(data: Any) -> Any:
    """The surrogate or control of ``to_dict``; None stays None, a sequence becomes a tuple.

    Raises:
        UnknownNameError: a name that this version does not know.
        InvalidInputError: data of another form, an unknown field, or a value that the setting refuses.
    """
    if data is None:
        return None
    if isinstance(data, (list, tuple)):
        return tuple(from_dict(one) for one in data)
    if not isinstance(data, dict) or not isinstance(data.get("name"), str):
        raise InvalidInputError(f"{data!r} is not a setting; expected a dict with 'name'")
    if data["name"] not in _KINDS:
        raise UnknownNameError(f"unknown setting {data['name']!r}; known: {', '.join(_KINDS)}")
    kind = _KINDS[data["name"]]
    values = {name: value for name, value in data.items() if name != "name"}
    unknown = set(values) - {field.name for field in fields(kind)}
    if unknown:
        raise InvalidInputError(f"{data['name']} has no field {', '.join(sorted(unknown))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise InvalidInputError(f"{data['name']}: {error}") from error
