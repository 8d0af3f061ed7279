"""`_run.json`: the identity, settings and software of a run."""

from __future__ import annotations

import json
import math
import platform
import sys
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from .. import __version__
from ..errors import InvalidInputError, RunFormatError, StoreError
from ..schema import FORMAT_VERSION
from .checksum import CHECKSUM, is_intact
from .files import Location
from .paths import RUN_FILE
from .token_sampling import TokenSampling

FORMAT_FIELD = "entropylab_format"
"""Key of the format version in every JSON file of a run."""


def now() -> str:
    """The time in UTC, ISO 8601 with microseconds."""
    return datetime.now(UTC).isoformat(timespec="microseconds")


def strict_json(value: Any, name: str) -> Any:
    """The value as plain JSON data (tuples as lists); `InvalidInputError` naming what cannot be written."""
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, str | bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InvalidInputError(f"{name} is {value}, which strict JSON cannot hold; use None or a string")
        return value
    if isinstance(value, Mapping):
        wrong = next((k for k in value if not isinstance(k, str)), None)
        if wrong is not None:
            raise InvalidInputError(f"{name} has the key {wrong!r}; JSON keys must be strings")
        return {k: strict_json(v, f"{name}[{k!r}]") for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [strict_json(v, f"{name}[{i}]") for i, v in enumerate(value)]
    raise InvalidInputError(
        f"{name} is a {type(value).__name__}, which JSON cannot hold; "
        "give a string, number, list or dict (a loss setting: entropylab.losses.settings.to_dict)"
    )


def software_versions() -> dict[str, str]:
    """Versions of what made the run; torch only where it is already loaded."""
    versions = {
        "python": platform.python_version(),
        "entropylab": __version__,
        "numpy": np.__version__,
        "pyarrow": pa.__version__,
    }
    torch = sys.modules.get("torch")
    if torch is not None:
        versions["torch"] = str(getattr(torch, "__version__", "unknown"))
    return versions


def attempt_info(
    attempt: int, *, method: str | None, config: Mapping[str, Any], world_size: int, sampling: TokenSampling
) -> dict[str, Any]:
    """What may change from one attempt to the next."""
    return {
        "attempt": attempt,
        "started": now(),
        "method": method,
        "config": config,
        "world_size": world_size,
        "token_sampling": sampling.to_dict(),
        "software": software_versions(),
    }


def merge_info(
    previous: dict[str, Any] | None, attempt: dict[str, Any], parent: str | None
) -> dict[str, Any]:
    """The content of `_run.json`: the newest attempt on top, the identity of the first, all attempts kept."""
    earlier = [] if previous is None else previous.get("attempts", [])
    attempts = [a for a in earlier if a["attempt"] < attempt["attempt"]] + [attempt]
    identity = previous or {"id": str(uuid.uuid4()), "created": attempt["started"], "parent": parent}
    return {
        FORMAT_FIELD: FORMAT_VERSION,
        "kind": "run",
        "id": identity["id"],
        "created": identity["created"],
        "parent": parent if parent is not None else identity.get("parent"),
        **{k: attempt[k] for k in ("method", "config", "world_size", "token_sampling", "software")},
        "covariance_set": None if previous is None else previous.get("covariance_set"),
        "attempts": attempts,
    }


def read_info(folder: Location) -> dict[str, Any]:
    """The content of `_run.json`; `FileNotFoundError` if there is none, `RunFormatError` if not ours."""
    path = folder / RUN_FILE
    info = read_json(path)
    for key, kind in (("id", str), ("created", str), ("config", dict), ("attempts", list)):
        if not isinstance(info.get(key), kind):
            raise RunFormatError(
                f"{path}: the field '{key}' is missing or of the wrong type; not a run of entropylab"
            )
    if not info["attempts"] or not all(_is_attempt(a) for a in info["attempts"]):
        raise RunFormatError(
            f"{path}: 'attempts' must list the attempts of rank 0, each with its number and world size"
        )
    return info


def _is_attempt(value: object) -> bool:
    if not isinstance(value, dict):
        return False
    return _is_count(value.get("attempt")) and _is_count(value.get("world_size", 1))


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 1 <= value < 2**31


def read_json(path: Location) -> dict[str, Any]:
    """One JSON object of the log format; `RunFormatError` naming the file if unreadable, foreign or newer.

    `StoreError` where an object store does not give it: that says nothing of the file.
    """
    try:
        data = path.read_bytes()
        value = json.loads(data, parse_constant=_refuse_constant)
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError | StoreError):
            raise
        raise RunFormatError(f"{path}: cannot be read ({error.strerror or error})") from error
    except (ValueError, RecursionError) as error:
        raise RunFormatError(f"{path}: not valid JSON, so truncated or foreign ({error})") from error
    if not isinstance(value, dict) or FORMAT_FIELD not in value:
        raise RunFormatError(f"{path}: a JSON file that entropylab did not write (no '{FORMAT_FIELD}')")
    check_format(value[FORMAT_FIELD], path)
    if not is_intact(data, sealed=CHECKSUM in value):
        raise RunFormatError(
            f"{path}: its checksum is not that of its text, so it was changed after it was written; "
            f"if that was on purpose, take out the field '{CHECKSUM}'"
        )
    value.pop(CHECKSUM, None)
    return value


def check_format(version: object, path: object) -> None:
    """`RunFormatError` where the version is not a number, or newer than this program reads."""
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise RunFormatError(f"{path}: the format version {version!r} is not a whole number >= 1")
    if version > FORMAT_VERSION:
        raise RunFormatError(
            f"{path}: written in format {version}, this version reads up to {FORMAT_VERSION}; "
            "upgrade with  pip install -U entropylab-rl"
        )


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not strict JSON")
