"""The settings of runs as tables: what all share, and what differs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from .numbers import MISSING

LONGEST = 160
"""Characters of a value that is shown in full."""


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted names and short texts; long lists show their length instead."""
    flat: dict[str, str] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{name}.")
        else:
            flat[name] = _text(value)
    return flat


def split_settings(
    configs: Sequence[Mapping[str, Any]],
) -> tuple[dict[str, str], list[tuple[str, list[str]]]]:
    """(settings that all runs share, [(name, value in each run)] of the others; a dash where not set)."""
    flat = [flatten(config) for config in configs]
    keys = list(dict.fromkeys(key for one in flat for key in one))
    shared = {key: flat[0][key] for key in keys if all(one.get(key) == flat[0].get(key) for one in flat)}
    return shared, [(key, [one.get(key, MISSING) for one in flat]) for key in keys if key not in shared]


def _text(value: Any) -> str:
    if isinstance(value, str):
        text = value
    elif isinstance(value, list | tuple) and len(value) > 12:
        return f"list of {len(value)}"
    else:
        text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"
