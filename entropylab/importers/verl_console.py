"""verl's console logger: lines ``step:3 - actor/entropy:0.41 - ...`` among everything else a job prints.

verl 0.9.1, utils/logger/aggregate_logger.py (concat_dict_to_str).
"""

from __future__ import annotations

import re
from pathlib import Path

from .metrics_log import MetricsLog

_LINE = re.compile(r"(?:^|[\s)])step:(\d+) - (\S+:.*)$")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_NUMBER = re.compile(r"^(?:np\.\w+\()?([^()]+)\)?$")


def read_console(path: Path) -> MetricsLog:
    """The metrics of the lines that start with ``step:N - ``, also behind a prefix of Ray."""
    log = MetricsLog()
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            match = _LINE.search(_COLOUR.sub("", line.rstrip()))
            if match:
                log.add({**_pairs(match[2]), "step": float(match[1])})
    return log


def _pairs(text: str) -> dict[str, str]:
    found = {}
    for part in text.split(" - "):
        name, _, value = part.rpartition(":")
        number = _NUMBER.match(value.strip())
        if name and number:
            found[name.strip()] = number[1]
    return found
